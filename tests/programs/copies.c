// Writes to a private mapping of a file and to memory shared with a child, by several threads at once, in any
// order: a page that is copied along with its neighbours, or given to its process with them, must keep what
// it had, and the file, too.
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPages = 307, kWords = 512, kThreads = 4, kRounds = 40 };

static uint64_t* pages;

static uint64_t Origin(int page, int word) { return (uint64_t)page << 32 | (uint64_t)word; }
static uint64_t Written(int page, int writer) { return ~Origin(page, writer); }

static void Fail(const char* what) {
  printf("WRONG: %s\n", what);
  exit(1);
}

// Each writer has a word of each page. The pages come in an order of its own: their number is prime.
static void* Write(void* argument) {
  const int writer = (int)(intptr_t)argument;
  for (int i = 0; i < kPages; ++i) {
    const int page = (i * (2 * writer + 7) + 31 * writer) % kPages;
    uint64_t* const word = &pages[page * kWords + writer];
    if (*word != Origin(page, writer)) Fail("before a write");
    *word = Written(page, writer);
    if (*word != Written(page, writer)) Fail("after a write");
  }
  return NULL;
}

static void Check(int writers, const char* what) {
  for (int page = 0; page < kPages; ++page) {
    for (int word = 0; word < kWords; ++word) {
      if (pages[page * kWords + word] != (word < writers ? Written(page, word) : Origin(page, word)))
        Fail(what);
    }
  }
}

static void Map(int fd) {
  pages = mmap(NULL, kPages * kWords * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  if (pages == MAP_FAILED) Fail("mmap");
}

static int Wait(pid_t child) {
  int status;
  return waitpid(child, &status, 0) == child ? status : -1;
}

int main(void) {
  FILE* file = tmpfile();
  for (int page = 0; page < kPages; ++page) {
    for (int word = 0; word < kWords; ++word) {
      const uint64_t value = Origin(page, word);
      fwrite(&value, sizeof(value), 1, file);
    }
  }
  fflush(file);
  uint64_t read_back = 0;

  for (int round = 0; round < kRounds; ++round) {
    Map(fileno(file));
    // Mapped by reading first, every other time, all or some: the copies are of pages that are there, and of
    // others.
    for (int page = 0; page < kPages && round % 2 == 0; page += 1 + round % 5)
      read_back += pages[page * kWords];
    pthread_t threads[kThreads];
    for (intptr_t i = 0; i < kThreads; ++i) pthread_create(&threads[i], NULL, Write, (void*)i);
    for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
    Check(kThreads, "after the threads");

    // The child's writes are its own, and the parent's after its end the parent's.
    const pid_t child = fork();
    if (child == 0) {
      Write((void*)(intptr_t)kThreads);
      Check(kThreads + 1, "in the child");
      _exit(0);
    }
    for (int page = 0; page < kPages; page += 3) pages[page * kWords + 100] = 1;
    if (Wait(child) != 0) Fail("the child");
    for (int page = 0; page < kPages; page += 3) pages[page * kWords + 100] = Origin(page, 100);
    Check(kThreads, "after the child");
    Write((void*)(intptr_t)kThreads);
    Check(kThreads + 1, "the parent alone");
    munmap(pages, kPages * kWords * 8);
  }

  Map(fileno(file));
  Check(0, "the file");

  // Read-only pages stay so, next to one that is written to.
  Map(fileno(file));
  mprotect(pages + kWords, kWords * 8, PROT_READ);
  const pid_t child = fork();
  if (child == 0) {
    pages[0] = 1;
    *(volatile uint64_t*)(pages + kWords) = 1;
    _exit(0);
  }
  printf("%d rounds, then signal %d, %s\n", kRounds, Wait(child), read_back != 0 ? "read" : "nothing read");
  return 0;
}

// For gcc: threads that meet at a barrier, floating point in all of them, jumps out of calls and out of a
// signal handler on a stack of its own, thread-local data, and memory whose protection changes.
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { kThreads = 6, kRounds = 200, kCells = 256 };

static double grid[2][kCells][kCells / 8];
static pthread_barrier_t barrier;
static atomic_long visits;
static _Thread_local uint64_t seed;

static uint64_t Random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  return seed ^= seed << 17;
}

// Heat that flows in a plate: each thread has some rows and reads its neighbours'.
static void* Relax(void* argument) {
  const long me = (long)argument;
  seed = 88172645463325252u + (uint64_t)me;
  uint64_t sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    double(*from)[kCells / 8] = grid[round % 2], (*to)[kCells / 8] = grid[(round + 1) % 2];
    for (long y = 1 + me; y < kCells - 1; y += kThreads) {
      for (int x = 1; x < kCells / 8 - 1; ++x)
        to[y][x] = 0.25 * (from[y - 1][x] + from[y + 1][x] + from[y][x - 1] + from[y][x + 1]) + sin(y * x) / 64;
    }
    sum += Random();
    atomic_fetch_add(&visits, 1);
    pthread_barrier_wait(&barrier);
  }
  return (void*)(uintptr_t)sum;
}

static void Threads(void) {
  pthread_t threads[kThreads];
  uintptr_t sums = 0;
  pthread_barrier_init(&barrier, NULL, kThreads);
  for (int y = 0; y < kCells; ++y) grid[0][y][0] = grid[1][y][0] = y;
  for (long i = 0; i < kThreads; ++i) pthread_create(&threads[i], NULL, Relax, (void*)i);
  for (int i = 0; i < kThreads; ++i) {
    void* sum;
    pthread_join(threads[i], &sum);
    sums += (uintptr_t)sum;
  }
  double heat = 0;
  for (int y = 0; y < kCells; ++y)
    for (int x = 0; x < kCells / 8; ++x) heat += grid[0][y][x];
  printf("threads: %ld visits, sums %lx, heat %.17g\n", visits, (unsigned long)sums, heat);
}

static jmp_buf unwound;
static void Descend(int depth) {
  volatile char frame[512];
  frame[0] = (char)depth;
  if (depth == 300) longjmp(unwound, 42);
  Descend(depth + 1);
  frame[1] = frame[0];
}

static sigjmp_buf recovered;
static volatile sig_atomic_t code;
static void OnFault(int number, siginfo_t* info, void* context) {
  (void)number;
  (void)context;
  code = info->si_code;
  siglongjmp(recovered, 1);
}

static void Jumps(void) {
  printf("longjmp:");
  for (int i = 0; i < 3; ++i) {
    const int value = setjmp(unwound);
    if (value == 0) Descend(0);
    printf(" %d", value);
  }
  const stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
  sigaltstack(&stack, NULL);
  struct sigaction action = {.sa_sigaction = OnFault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGFPE, &action, NULL);
  sigaction(SIGILL, &action, NULL);
  char* page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  volatile int zero = 0;
  printf("\nfaults:");
  if (sigsetjmp(recovered, 1) == 0) *(volatile char*)8 = 1;
  printf(" null %d", code);
  if (sigsetjmp(recovered, 1) == 0) *(volatile char*)page = 1;
  printf(", read-only %d", code);
  if (sigsetjmp(recovered, 1) == 0) printf("%d", 1 / zero);
  printf(", division %d", code);
  if (sigsetjmp(recovered, 1) == 0) __builtin_trap();
  printf(", ud2 %d", code);
  if (sigsetjmp(recovered, 1) == 0) *(volatile char*)0x8000000000000000 = 1;
  printf(", not canonical %d\n", code);
}

// What a compiler at run time does: code is written, made executable, run, and written again.
static void WrittenCode(void) {
  unsigned char* code_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  unsigned long sum = 0;
  for (int i = 0; i < 1000; ++i) {
    mprotect(code_page, 4096, PROT_READ | PROT_WRITE);
    code_page[0] = 0xb8;  // mov eax, i
    memcpy(code_page + 1, &i, 4);
    code_page[5] = 0xc3;  // ret
    mprotect(code_page, 4096, PROT_READ | PROT_EXEC);
    sum += (unsigned long)((int (*)(void))code_page)();
  }
  printf("written code: %lu\n", sum);
}

static void Numbers(void) {
  long double series = 0;
  for (int i = 1; i < 100000; ++i) series += 1.0L / i / i;
  printf("numbers: %.18Lg %.17g %.17g %a %.9g %d\n", series, tgamma(7.5), fma(1e16, 1.0000001, -1e16),
         exp(1) - 2.5, (double)(1.0f / 3), (int)lrint(-2.5));
}

int main(void) {
  Threads();
  Jumps();
  WrittenCode();
  Numbers();
  return 0;
}

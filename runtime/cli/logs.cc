// `hmvm logs`: what the container wrote to its standard output goes to ours, its errors to ours.
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/file.h"
#include "runtime/cli/commands.h"
#include "runtime/output/log_file.h"

namespace hmvm {
namespace {

constexpr size_t kBatchBytes = 64 << 10;

// Prints all that is there now, lines of one stream together in one write.
Result<> PrintNew(LogReader& reader) {
  std::string batch;
  OutputStream stream = OutputStream::kStdout;
  const auto flush = [&]() -> Result<> {
    HMVM_TRY(WriteAll(stream == OutputStream::kStdout ? STDOUT_FILENO : STDERR_FILENO, batch));
    batch.clear();
    return {};
  };
  for (;;) {
    HMVM_TRY_ASSIGN(const auto line, reader.Next());
    if (!line.has_value()) return flush();
    if (line->stream != stream || batch.size() > kBatchBytes) HMVM_TRY(flush());
    stream = line->stream;
    batch += line->bytes;
  }
}

// The process that answers for the container, another when it has come to run than while it starts; none when
// the container has ended.
UniqueFd OpenOwner(const ContainerStore& store, const std::string& id) {
  for (;;) {
    const auto record = store.Load(id);
    if (!record.has_value() || !record->live()) return UniqueFd();
    if (UniqueFd owner = OpenProcess(record->owner); owner.valid()) return owner;
    // It has ended since, and handed over or not.
  }
}

// Sleeps until something happens in the container's folder or to its supervisor. True when that may have been
// the container's end.
Result<bool> WaitForNews(const UniqueFd& folder, const UniqueFd& owner) {
  pollfd fds[2] = {{.fd = folder.get(), .events = POLLIN, .revents = 0},
                   {.fd = owner.get(), .events = POLLIN, .revents = 0}};
  if (::poll(fds, 2, -1) < 0 && errno != EINTR) return Error{errno, "wait for the log"};
  bool only_output = fds[1].revents == 0;
  if (fds[0].revents != 0) {
    alignas(inotify_event) char buffer[4096];
    const ssize_t got = ::read(folder.get(), buffer, sizeof(buffer));
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);  // SAFETY: inotify(7)'s layout
      if ((event->mask & IN_MODIFY) == 0) only_output = false;
      at += static_cast<ssize_t>(sizeof(*event) + event->len);
    }
  }
  return !only_output;
}

}  // namespace

Result<int> Execute(const Folders& folders, const LogsOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(options.container));
  auto opened = LogReader::Open(store.LogPath(record.id));
  // One that never came to write has an empty log.
  if (!opened.has_value()) {
    if (opened.error().code == ENOENT) return 0;
    return opened.error();
  }
  LogReader& reader = *opened;
  if (options.tail.has_value()) HMVM_TRY(reader.SeekTail(*options.tail));
  if (!options.follow) {
    HMVM_TRY(PrintNew(reader));
    return 0;
  }
  const UniqueFd news(::inotify_init1(IN_CLOEXEC));
  const std::string folder = store.Folder(record.id);
  if (!news.valid() || ::inotify_add_watch(news.get(), folder.c_str(),
                                           IN_MODIFY | IN_MOVED_TO | IN_MOVE_SELF | IN_DELETE_SELF) < 0) {
    return Error{errno, "watch folder '" + folder + "'"};
  }
  UniqueFd owner = OpenOwner(store, record.id);
  for (;;) {
    HMVM_TRY(PrintNew(reader));
    if (!owner.valid()) return 0;
    HMVM_TRY_ASSIGN(const bool look, WaitForNews(news, owner));
    if (look) owner = OpenOwner(store, record.id);
  }
}

}  // namespace hmvm

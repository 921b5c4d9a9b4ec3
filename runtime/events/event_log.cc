#include "runtime/events/event_log.h"

#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/folder.h"

namespace hmvm {
namespace {

std::string NewestPath(const std::string& folder) { return folder + "/events.jsonl"; }

}  // namespace

Result<EventLog> EventLog::Open(const std::string& folder, uint64_t full_bytes) {
  HMVM_TRY(MakePrivateFolder(folder));
  return EventLog(folder, full_bytes);
}

Result<> EventLog::Append(const Event& event) const {
  // The folder is the lock: the file itself may be put aside while somebody waits for it.
  HMVM_TRY_ASSIGN(const UniqueFd lock, OpenFile(folder_, O_RDONLY | O_DIRECTORY));
  while (::flock(lock.get(), LOCK_EX) < 0) {
    if (errno != EINTR) return Error{errno, "lock '" + folder_ + "'"};
  }
  const std::string path = NewestPath(folder_);
  HMVM_TRY_ASSIGN(UniqueFd file, OpenFile(path, O_RDWR | O_CREAT | O_APPEND, 0600));
  HMVM_TRY_ASSIGN(uint64_t size, FileSize(file.get(), path));
  if (size >= full_bytes_) {
    if (::rename(path.c_str(), (path + ".1").c_str()) < 0) return Error{errno, "put '" + path + "' aside"};
    HMVM_TRY_ASSIGN(file, OpenFile(path, O_RDWR | O_CREAT | O_APPEND, 0600));
    size = 0;
  }
  std::string line = EncodeEvent(event);
  char last = '\n';
  if (size > 0) (void)!::pread(file.get(), &last, 1, static_cast<off_t>(size) - 1);
  if (last != '\n') line.insert(line.begin(), '\n');
  if (auto written = WriteAll(file.get(), line); !written.has_value()) {
    (void)!::ftruncate(file.get(), static_cast<off_t>(size));  // half a line is nobody's
    return Error{written.error().code, "write to '" + path + "'"};
  }
  return {};
}

Result<EventReader> EventReader::Open(const EventLog& log) {
  EventReader reader(NewestPath(log.folder()));
  for (const std::string& path : {reader.path_ + ".1", reader.path_}) {
    auto file = OpenFile(path, O_RDONLY);
    if (!file.has_value() && file.error().code != ENOENT) return file.error();
    if (!file.has_value()) continue;
    reader.fd_ = std::move(*file);
    break;
  }
  return reader;
}

Result<std::optional<Event>> EventReader::Next() {
  for (;;) {
    while (const auto line = lines_.Next()) {
      auto event = DecodeEvent(*line);
      if (event.has_value()) return event;
    }
    HMVM_TRY_ASSIGN(bool more, ReadOn());
    if (!more) {
      HMVM_TRY_ASSIGN(more, GoToNewer());
    }
    if (!more) return std::optional<Event>();
  }
}

// False at the end of the file.
Result<bool> EventReader::ReadOn() {
  if (!fd_.valid()) return false;
  return lines_.Read(fd_, "'" + path_ + "'");
}

// False when the file we read is the newest.
Result<bool> EventReader::GoToNewer() {
  auto newest = OpenFile(path_, O_RDONLY);
  if (!newest.has_value() && newest.error().code == ENOENT) return false;
  if (!newest.has_value()) return newest.error();
  struct stat ours = {}, theirs = {};
  if (::fstat(newest->get(), &theirs) < 0) return Error{errno, "look at '" + path_ + "'"};
  if (fd_.valid()) {
    if (::fstat(fd_.get(), &ours) < 0) return Error{errno, "look at '" + path_ + ".1'"};
    if (ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino) return false;
    // It was put aside after we had read its end, perhaps with more in it. Nobody writes to it any more.
    HMVM_TRY_ASSIGN(const bool more, ReadOn());
    if (more) return true;
  }
  fd_ = std::move(*newest);
  lines_.Clear();  // of the old file at most a line that was never finished
  return true;
}

}  // namespace hmvm

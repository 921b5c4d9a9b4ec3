// `hmvm events`: what has happened to containers, and with --follow what happens, a line of JSON each.
#include <sys/inotify.h>
#include <unistd.h>

#include "runtime/cli/commands.h"
#include "runtime/events/event_log.h"

namespace hmvm {
namespace {

Result<> PrintNew(EventReader& reader, const EventsOptions& options) {
  constexpr size_t kBatchBytes = 64 << 10;
  std::string batch;
  for (;;) {
    HMVM_TRY_ASSIGN(const auto event, reader.Next());
    if (event.has_value()) {
      if (event->unix_ns >= options.since_unix_ns && options.filter.Wants(*event))
        batch += EncodeEvent(*event);
      if (batch.size() < kBatchBytes) continue;
    }
    if (!batch.empty()) HMVM_TRY(Print(batch));
    batch.clear();
    if (!event.has_value()) return {};
  }
}

}  // namespace

Result<int> Execute(const Folders& folders, const EventsOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  const std::string& folder = store.events().folder();
  // The watch comes before the first look, so that nothing falls between.
  const UniqueFd news(::inotify_init1(IN_CLOEXEC));
  if (options.follow &&
      (!news.valid() || ::inotify_add_watch(news.get(), folder.c_str(), IN_MODIFY | IN_CREATE) < 0)) {
    return Error{errno, "watch folder '" + folder + "'"};
  }
  HMVM_TRY_ASSIGN(EventReader reader, EventReader::Open(store.events()));
  for (;;) {
    HMVM_TRY(PrintNew(reader, options));
    if (!options.follow) return 0;
    alignas(inotify_event) char changes[4096];
    if (::read(news.get(), changes, sizeof(changes)) < 0 && errno != EINTR) {
      return Error{errno, "wait for events"};
    }
  }
}

}  // namespace hmvm

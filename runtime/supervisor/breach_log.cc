#include "runtime/supervisor/breach_log.h"

#include "security/guard/audit.h"

namespace hmvm {
namespace {

// A VMM under audit may commit breaches without end; nobody needs more of them than this.
constexpr int kMaxEvents = 1000;

}  // namespace

void BreachLog::Add(const GuardEvent& event) {
  if (++events_ > kMaxEvents) return;
  // What can't be written has nobody left to be told to.
  (void)AuditBreach(store_.AuditFolder(), event, {.container = record_.id, .image = record_.config.image});
  (void)store_.Tell(record_, "breach", {{"what", event.Describe()}, {"deed", event.deed}});
}

}  // namespace hmvm

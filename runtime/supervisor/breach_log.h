#pragma once

#include "runtime/container/record.h"
#include "runtime/container/store.h"
#include "security/guard/guarded_vm.h"

namespace hmvm {

// Writes down what the guard sees a container's VMM do: in the audit log, and in the event log. Belongs to
// the loop's thread; store and record outlive it.
class BreachLog {
 public:
  BreachLog(const ContainerStore& store, const ContainerRecord& record) : store_(store), record_(record) {}

  void Add(const GuardEvent& event);

 private:
  const ContainerStore& store_;
  const ContainerRecord& record_;
  int events_ = 0;
};

}  // namespace hmvm

#include "tests/attack/hostile/attacks.h"

#include "tests/attack/hostile/deeds.h"

namespace hmvm::test {

std::string Attack(std::string_view name, const HostileTargets& targets) {
  for (const Deeds* deeds : {&FileDeeds(), &ProcessDeeds(), &NetworkDeeds(), &MemoryDeeds(), &MachineDeeds(),
                             &PrivilegeDeeds(), &FloodDeeds()}) {
    if (const auto deed = deeds->find(name); deed != deeds->end()) return deed->second(targets);
  }
  return "there is no such attack";
}

}  // namespace hmvm::test

// How a container's processes are held inside their guest.
#pragma once

#include <string>

namespace hmvm {

class Arguments;
struct ConfinementWishes;

void AddConfinement(Arguments& arguments, ConfinementWishes& confinement, std::string& security_profile);

}  // namespace hmvm

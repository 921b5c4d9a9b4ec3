// How a container's health is found out.
#pragma once

namespace hmvm {

class Arguments;
struct HealthWishes;

void AddHealth(Arguments& arguments, HealthWishes& health);

}  // namespace hmvm

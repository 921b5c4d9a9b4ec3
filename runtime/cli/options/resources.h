// What a container may use.
#pragma once

namespace hmvm {

class Arguments;
struct Resources;

void AddResources(Arguments& arguments, Resources& resources);

}  // namespace hmvm

// What a machine is made of, for the commands that make one.
#pragma once

#include <cstdint>
#include <string>

namespace hmvm {

class Arguments;

struct MachineOptions {
  uint32_t cpus = 1;
  uint64_t memory_bytes = uint64_t{256} << 20;
  std::string kernel;
  std::string platform = "auto";
};

// --cpus is also the limit of a container's processor time: `cpu_quota_us`, if there is a container.
void AddMachine(Arguments& arguments, MachineOptions& machine, uint64_t* cpu_quota_us = nullptr);

}  // namespace hmvm

// Which template fits a run: the machine as it would boot, to the byte of its programs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace hmvm {

// What a template's machine is made of.
struct TemplateMachine {
  std::string vmm_program;
  std::string kernel;
  std::string initramfs;
  std::string platform;     // auto, hardware, ring3
  uint32_t cpus = 1;        // running, when the snapshot is taken
  uint32_t memory_mib = 0;  // which it is booted with
  // Containers may have more of both: it is booted with room for them.
  bool grows = false;

  bool operator==(const TemplateMachine&) const = default;
};

// What a machine that grows can become: as many processors as the host has, up to 8, as much memory, up to
// 256 GiB.
struct GrowthLimits {
  uint32_t cpus = 1;
  uint32_t memory_mib = 0;

  static GrowthLimits Find();
};

// The machine that grows to the size of `exact`, the same for nearly all sizes; none: its own alone will do.
std::optional<TemplateMachine> GrowingMachine(const TemplateMachine& exact);

struct TemplateKey {
  TemplateMachine machine;
  std::string id;    // 32 hex digits: a hash of `text`
  std::string text;  // a line each: all that the template depends on, for people to compare
};

// Files count as the same while inode, size and times are: any change of kernel, initramfs or VMM makes
// another key, and so does another host kernel or processor. Reads no file. An error names the file that is
// not there.
Result<TemplateKey> MakeTemplateKey(const TemplateMachine& machine);

}  // namespace hmvm

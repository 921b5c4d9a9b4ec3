// Which template fits a run: the machine as it would boot, to the byte of its programs.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace hmvm {

// What a template's machine is made of.
struct TemplateMachine {
  std::string vmm_program;
  std::string kernel;
  std::string initramfs;
  std::string platform;     // auto, hardware, ring3
  uint32_t cpus = 1;        // exactly as many as the container gets, as is the memory: nothing is left to be
  uint32_t memory_mib = 0;  // plugged after the restore

  bool operator==(const TemplateMachine&) const = default;
};

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

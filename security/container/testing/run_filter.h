// What the kernel would answer: a small machine for the classic BPF that seccomp allows.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace hmvm {

inline uint32_t RunFilter(const std::vector<sock_filter>& filter, const seccomp_data& data) {
  uint32_t accumulator = 0;
  for (size_t at = 0; at < filter.size(); ++at) {
    const sock_filter& instruction = filter[at];
    const auto jump = [&](bool holds) { at += holds ? instruction.jt : instruction.jf; };
    switch (instruction.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + instruction.k, sizeof(accumulator));
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        accumulator &= instruction.k;
        break;
      case BPF_JMP | BPF_JA:
        at += instruction.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        jump(accumulator == instruction.k);
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        jump(accumulator > instruction.k);
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        jump(accumulator >= instruction.k);
        break;
      case BPF_RET | BPF_K:
        return instruction.k;
      default:
        return UINT32_MAX;
    }
  }
  return UINT32_MAX;  // it ran off the end
}

}  // namespace hmvm

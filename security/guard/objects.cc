#include "security/guard/objects.h"

#include <array>

#include <openssl/sha.h>

#include "bpf/guard.skel.h"
#include "bpf/guard_exits.skel.h"
#include "bpf/guard_kvm.skel.h"
#include "bpf/guard_lsm.skel.h"
#include "bpf/guard_sockets.skel.h"
#include "bpf/guard_uring.skel.h"

namespace hmvm {
namespace {

std::span<const std::byte> Bytes(const void* (*elf_bytes)(size_t*)) {
  size_t size = 0;
  const void* const bytes = elf_bytes(&size);
  return {static_cast<const std::byte*>(bytes), size};
}

}  // namespace

const std::vector<GuardLayer>& GuardLayers() {
  static const std::vector<GuardLayer> layers = {
      {"system-calls", "kills a VMM that makes a system call outside its policy",
       Bytes(guard_bpf__elf_bytes)},
      {"io-uring", "kills a VMM that has io_uring do what its policy forbids",
       Bytes(guard_uring_bpf__elf_bytes),
       /*on_demand=*/false, /*alternatives=*/true},
      {"sockets", "a VMM's call that makes or connects a socket fails", Bytes(guard_sockets_bpf__elf_bytes)},
      {"lsm", "a VMM's call that opens, executes, mounts, traces or signals fails",
       Bytes(guard_lsm_bpf__elf_bytes)},
      {"kvm", "counts what each VMM is asked for by KVM", Bytes(guard_kvm_bpf__elf_bytes)},
      {"kvm-exits", "counts all exits of each virtual machine", Bytes(guard_exits_bpf__elf_bytes),
       /*on_demand=*/true},
  };
  return layers;
}

const std::string& GuardVersion() {
  static const std::string version = [] {
    std::string all;
    for (const GuardLayer& layer : GuardLayers()) {
      all.append(reinterpret_cast<const char*>(layer.object.data()), layer.object.size());
    }
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
    ::SHA256(reinterpret_cast<const unsigned char*>(all.data()), all.size(), digest.data());
    std::string hex;
    for (size_t i = 0; i < 6; ++i) {
      hex += "0123456789abcdef"[digest[i] >> 4];
      hex += "0123456789abcdef"[digest[i] & 15];
    }
    return hex;
  }();
  return version;
}

}  // namespace hmvm

#pragma once

#include <string>

#include "base/result.h"
#include "runtime/template/key.h"
#include "runtime/template/store.h"

namespace hmvm {

struct BuildGuard {
  bool required = false;     // no build without the eBPF guard
  std::string audit_folder;  // of the log that hears of a breach
};

// Boots the key's machine with an empty drive, waits until its agent is ready, and makes a template of it.
// Takes a cold boot and some 50 ms. EAGAIN: another process is building one. ECANCELED: the machine does not
// come up, as whoever boots it himself will be told. The error says why, in the VMM's last words where it had
// any. Its VMM is confined as every other: cell, jail, seccomp, and the guard where there is one.
Result<> BuildTemplate(const TemplateStore& store, const TemplateKey& key, const BuildGuard& guard);

}  // namespace hmvm

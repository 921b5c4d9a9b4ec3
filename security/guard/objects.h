// The guard's BPF objects, as they were built: nothing is read from files at run time.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace hmvm {

// One object, loaded as a whole or not at all.
struct GuardLayer {
  const char* name;     // "system-calls": also of its folder of pins
  const char* meaning;  // what it does
  std::span<const std::byte> object;
  bool on_demand = false;     // loaded while somebody looks, not with the guard
  bool alternatives = false;  // its programs are for different kernels: one is enough
};

// The first is what makes a guard; each of the others may be missing.
const std::vector<GuardLayer>& GuardLayers();

// Of the objects together: another one for each build that differs.
const std::string& GuardVersion();

}  // namespace hmvm

// A private hmvm: its own state folders, its own temporary folder, and a look at what is left of it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/child.h"

namespace hmvm::test {

// Paths of the build under test.
std::filesystem::path BuildDir();
std::filesystem::path SourceDir();
std::filesystem::path HmvmProgram();
std::filesystem::path VmmProgram();
std::filesystem::path GuestKernel();
std::filesystem::path GuestInitramfs();
std::filesystem::path BusyboxLayout();  // an OCI layout

// Why a guest can't be booted here, for GTEST_SKIP; empty: it can.
std::string WhyNoGuest();

// Everything below one temporary directory: root/ and run/ for hmvm, tmp/ as TMPDIR. Destroying it removes
// all containers by force and deletes the directory. One at a time in a process (TMPDIR is the process's).
class Sandbox {
 public:
  Sandbox();
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  const std::filesystem::path& dir() const { return dir_; }
  std::filesystem::path root() const { return dir_ / "root"; }
  std::filesystem::path run_root() const { return dir_ / "run"; }

  // The command line of `hmvm ARGUMENTS` on these folders.
  std::vector<std::string> Command(const std::vector<std::string>& arguments) const;
  Outcome Hmvm(const std::vector<std::string>& arguments, std::string_view input = {}) const;
  // A fatal failure of the test, with hmvm's words, unless it exits with 0. Returns stdout without its last
  // newline.
  std::string MustHmvm(const std::vector<std::string>& arguments) const;

  // Imports the busybox test image as "busybox".
  void ImportBusybox() const;

  // What there is of processes, container folders, sockets, temporary files, mounts, cgroups and network
  // devices of hmvm, a line each. Waits a while for it to become empty, as processes need a moment to end.
  std::vector<std::string> Leftovers() const;
  std::vector<std::string> LeftoversNow() const;

 private:
  void RemoveContainers() const;

  std::filesystem::path dir_;
  const bool guard_before_ = std::filesystem::exists("/sys/fs/bpf/hmvm");
  std::vector<std::string> mounts_before_;
  std::vector<std::string> cgroups_before_;
  std::vector<std::string> links_before_;
};

// Pids whose command line names `program` as its first word or `word` anywhere, zombies left out.
std::vector<pid_t> FindProcesses(std::string_view word);
bool ProcessExists(pid_t pid);  // a zombie does not

}  // namespace hmvm::test

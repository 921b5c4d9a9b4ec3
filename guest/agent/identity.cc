#include "guest/agent/identity.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"

namespace hmvm::agent {
namespace {

std::string HostsFile(const std::string& hostname) {
  return "127.0.0.1\tlocalhost\n"
         "::1\tlocalhost ip6-localhost ip6-loopback\n"
         "fe00::0\tip6-localnet\n"
         "ff00::0\tip6-mcastprefix\n"
         "ff02::1\tip6-allnodes\n"
         "ff02::2\tip6-allrouters\n"
         "127.0.0.1\t" +
         hostname + "\n";
}

Result<> WriteFile(const std::string& path, const std::string& content) {
  HMVM_TRY_ASSIGN(const UniqueFd file, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  return WriteAll(file.get(), content);
}

Result<> SetOwnHostname(const std::string& hostname) {
  if (::sethostname(hostname.data(), hostname.size()) < 0)
    return Error{errno, "set hostname '" + hostname + "'"};
  return {};
}

}  // namespace

Result<> WriteIdentityFiles(const std::string& directory, const Identity& identity) {
  HMVM_TRY(WriteFile(directory + "/hostname", identity.hostname + "\n"));
  HMVM_TRY(WriteFile(directory + "/hosts", HostsFile(identity.hostname)));
  return WriteFile(directory + "/machine-id", identity.machine_id + "\n");
}

Result<> SetHostname(const std::string& hostname, const UniqueFd& uts) {
  if (!uts.valid()) return SetOwnHostname(hostname);
  HMVM_TRY_ASSIGN(const UniqueFd own, OpenFile("/proc/self/ns/uts", O_RDONLY));
  if (::setns(uts.get(), CLONE_NEWUTS) < 0) return Error{errno, "enter the container's uts namespace"};
  Result<> set = SetOwnHostname(hostname);
  if (::setns(own.get(), CLONE_NEWUTS) < 0) return Error{errno, "return to the agent's uts namespace"};
  return set;
}

bool IsMachineId(const std::string& text) {
  return text.size() == 32 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace hmvm::agent

#include "guest/agent/accounts.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "base/escape.h"

namespace hmvm::agent {
namespace {

constexpr uint32_t kMaxId = INT32_MAX;  // the range that docker takes, too

std::optional<uint32_t> ParseId(std::string_view text) {
  uint32_t id = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || rest != text.data() + text.size() || id > kMaxId) return std::nullopt;
  return id;
}

bool IsNumber(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Cuts `rest` at the first `separator`; what stands before it is returned, `rest` keeps what stands behind.
std::string_view Cut(std::string_view& rest, char separator) {
  const size_t at = rest.find(separator);
  const std::string_view head = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return head;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> fields;
  while (!text.empty()) fields.push_back(Cut(text, separator));
  return fields;
}

struct PasswdEntry {
  std::string_view name;
  uint32_t uid;
  uint32_t gid;
  std::string_view home;
};

// name:password:uid:gid:comment:home:shell
std::optional<PasswdEntry> ParsePasswdLine(std::string_view line) {
  const auto fields = Split(line, ':');
  if (fields.size() < 4 || fields[0].empty()) return std::nullopt;
  const auto uid = ParseId(fields[2]);
  const auto gid = ParseId(fields[3]);
  if (!uid.has_value() || !gid.has_value()) return std::nullopt;
  return PasswdEntry{fields[0], *uid, *gid, fields.size() > 5 ? fields[5] : std::string_view()};
}

struct GroupEntry {
  std::string_view name;
  uint32_t gid;
  std::string_view members;  // separated by commas
};

// name:password:gid:members
std::optional<GroupEntry> ParseGroupLine(std::string_view line) {
  const auto fields = Split(line, ':');
  if (fields.size() < 3 || fields[0].empty()) return std::nullopt;
  const auto gid = ParseId(fields[2]);
  if (!gid.has_value()) return std::nullopt;
  return GroupEntry{fields[0], *gid, fields.size() > 3 ? fields[3] : std::string_view()};
}

std::optional<PasswdEntry> FindUser(std::string_view passwd, std::string_view user) {
  const auto id = ParseId(user);
  while (!passwd.empty()) {
    const auto entry = ParsePasswdLine(Cut(passwd, '\n'));
    if (entry.has_value() && (entry->name == user || (id.has_value() && entry->uid == *id))) return entry;
  }
  return std::nullopt;
}

std::vector<gid_t> GroupsWithMember(std::string_view group, std::string_view user) {
  std::vector<gid_t> gids;
  while (!group.empty()) {
    const auto entry = ParseGroupLine(Cut(group, '\n'));
    if (!entry.has_value()) continue;
    const auto members = Split(entry->members, ',');
    if (std::ranges::find(members, user) == members.end()) continue;
    if (std::ranges::find(gids, entry->gid) == gids.end()) gids.push_back(entry->gid);
  }
  return gids;
}

Result<gid_t> ResolveGroup(std::string_view wanted, std::string_view group) {
  std::string_view rest = group;
  while (!rest.empty()) {
    const auto entry = ParseGroupLine(Cut(rest, '\n'));
    if (entry.has_value() && entry->name == wanted) return entry->gid;
  }
  if (const auto id = ParseId(wanted)) return *id;
  const std::string shown = Escape(wanted);
  if (IsNumber(wanted)) return Error{EINVAL, "group " + shown + " is not in the range 0-2147483647"};
  return Error{EINVAL, "unable to find group " + shown + ": no matching entries in group file"};
}

}  // namespace

Result<Account> ResolveUser(std::string_view user, std::string_view passwd, std::string_view group) {
  std::string_view wanted_group = user;
  std::string_view wanted_user = Cut(wanted_group, ':');
  if (wanted_user.empty()) wanted_user = "0";

  Account account;
  const auto entry = FindUser(passwd, wanted_user);
  if (entry.has_value()) {
    account.uid = entry->uid;
    account.gid = entry->gid;
    if (!entry->home.empty()) account.home = entry->home;
    if (wanted_group.empty()) account.groups = GroupsWithMember(group, entry->name);
  } else if (const auto id = ParseId(wanted_user)) {
    account.uid = *id;
  } else {
    const std::string shown = Escape(wanted_user);
    if (IsNumber(wanted_user)) return Error{EINVAL, "user " + shown + " is not in the range 0-2147483647"};
    return Error{EINVAL, "unable to find user " + shown + ": no matching entries in passwd file"};
  }
  if (!wanted_group.empty()) {
    HMVM_TRY_ASSIGN(account.gid, ResolveGroup(wanted_group, group));
  }
  // docker's answer to CVE-2022-36109: who leaves the primary group still counts as its member.
  std::erase(account.groups, account.gid);
  account.groups.insert(account.groups.begin(), account.gid);
  return account;
}

}  // namespace hmvm::agent

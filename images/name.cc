#include "images/name.h"

#include <algorithm>

#include "base/escape.h"

namespace hmvm {
namespace {

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsTagChar(char c) {
  return IsLowerOrDigit(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
}

// host[:port] or a component of the path: no empty ones, none that begins like an option or a dot file.
bool IsComponent(std::string_view part, bool first) {
  if (part.empty() || !IsTagChar(part[0]) || part[0] == '-' || part[0] == '.' || part[0] == '_') return false;
  return std::all_of(part.begin(), part.end(), [first](char c) {
    return IsLowerOrDigit(c) || c == '.' || c == '_' || c == '-' ||
           (first && (c == ':' || (c >= 'A' && c <= 'Z')));
  });
}

bool IsRepository(std::string_view repository) {
  bool first =
      repository.find('/') != std::string_view::npos;  // only then there can be a host, with its port
  for (;;) {
    const size_t slash = repository.find('/');
    if (!IsComponent(repository.substr(0, slash), first)) return false;
    if (slash == std::string_view::npos) return true;
    repository.remove_prefix(slash + 1);
    first = false;
  }
}

}  // namespace

Result<std::string> NormalizeName(std::string_view name) {
  constexpr size_t kMaxBytes = 200;
  const Error invalid{0, "'" + Escape(name, kMaxBytes) + "' is not an image name (as in 'team/tool:1.0')"};
  std::string_view rest = name;
  constexpr std::string_view kRegistry = "docker.io/";
  constexpr std::string_view kOfficial = "library/";
  while (rest.starts_with(kRegistry)) {  // so that a normalized name stays as it is
    rest.remove_prefix(kRegistry.size());
    if (rest.starts_with(kOfficial)) rest.remove_prefix(kOfficial.size());
  }
  const size_t last_slash = rest.rfind('/');
  const size_t colon = rest.find(':', last_slash == std::string_view::npos ? 0 : last_slash);
  const std::string_view tag = colon == std::string_view::npos ? "latest" : rest.substr(colon + 1);
  const std::string_view repository = rest.substr(0, colon);
  if (tag.empty() || tag.size() > 128 || tag[0] == '.' || tag[0] == '-' ||
      !std::all_of(tag.begin(), tag.end(), IsTagChar) || !IsRepository(repository)) {
    return invalid;
  }
  std::string normalized = std::string(repository) + ":" + std::string(tag);
  if (normalized.size() > kMaxBytes) return invalid;
  return normalized;
}

std::string NameFromPath(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  path.remove_prefix(path.rfind('/') + 1);  // npos + 1 is 0
  for (const std::string_view suffix : {".gz", ".zst", ".tgz", ".tar"}) {
    if (path.ends_with(suffix)) path.remove_suffix(suffix.size());
  }
  return NormalizeName(path).has_value() && path.find(':') == std::string_view::npos ? std::string(path) : "";
}

}  // namespace hmvm

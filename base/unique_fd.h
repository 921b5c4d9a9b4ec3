#pragma once

#include <unistd.h>

#include <utility>

namespace hmvm {

// Owns a file descriptor. -1 means none.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    UniqueFd taken(std::move(other));  // what we held is closed here, not with `other`
    std::swap(fd_, taken.fd_);
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  // Linux frees the descriptor even when close(2) reports EINTR: a retry could close a stranger's.
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset() { UniqueFd gone(std::exchange(fd_, -1)); }

 private:
  int fd_ = -1;
};

}  // namespace hmvm

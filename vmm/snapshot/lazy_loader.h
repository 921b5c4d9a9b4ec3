// A machine's memory from an exported snapshot, unpacked where and when it is touched (userfaultfd), and the
// rest of it beside that, frame after frame.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/memory/pages.h"
#include "vmm/snapshot/archive.h"

namespace hmvm {

class LazyLoader {
 public:
  // For Start(). EPERM and ENOSYS: the host grants none. Needs rights that a jailed process has not.
  static Result<UniqueFd> OpenUserfaultfd();

  // `areas`, fresh anonymous memory that outlives this, are the archive's from here on: whoever touches them
  // first, guest or VMM, waits for the frame. `on_error` is called at most once, from the loader's thread,
  // when the archive can't be read any more: who waits then goes on waiting until this object is gone. That
  // thread calls `enter` first.
  static Result<std::unique_ptr<LazyLoader>> Start(Archive archive, UniqueFd userfaultfd,
                                                   std::span<const MemoryArea> areas,
                                                   std::function<Result<>()> enter,
                                                   std::function<void(Error)> on_error);
  // Ends the thread. What has not been loaded is zero from here on.
  ~LazyLoader();

  // Frames that a touch had to wait for, and all.
  uint64_t faulted_frames() const { return faulted_frames_.load(std::memory_order_relaxed); }
  uint64_t loaded_frames() const { return loaded_frames_.load(std::memory_order_relaxed); }

 private:
  LazyLoader(Archive archive, UniqueFd userfaultfd, std::span<const MemoryArea> areas,
             std::function<Result<>()> enter, std::function<void(Error)> on_error)
      : archive_(std::move(archive)),
        areas_(areas.begin(), areas.end()),
        enter_(std::move(enter)),
        on_error_(std::move(on_error)),
        userfaultfd_(std::move(userfaultfd)),
        loaded_(archive_.frames()) {}
  Result<> Open();
  Result<> Register();
  void Run();
  Result<> LoadAll();
  // Loads what those wait for who have touched something. false: it is time to end.
  Result<bool> ServeTouches();
  Result<> Serve(uint64_t address);
  Result<> Load(size_t frame);
  Result<> Fill(std::span<std::byte> host, std::span<const std::byte> bytes) const;

  Archive archive_;
  std::vector<MemoryArea> areas_;
  std::function<Result<>()> enter_;
  std::function<void(Error)> on_error_;
  UniqueFd userfaultfd_;
  UniqueFd stop_;  // eventfd
  std::vector<bool> loaded_;
  ArchivePages pages_;
  std::atomic<uint64_t> faulted_frames_ = 0;
  std::atomic<uint64_t> loaded_frames_ = 0;
  std::thread thread_;
};

}  // namespace hmvm

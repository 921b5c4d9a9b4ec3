#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

namespace hmvm {

// A bounded pipe of byte blocks between one producing and one consuming thread.
class ChunkQueue {
 public:
  using Chunk = std::vector<std::byte>;

  // Waits for room. False when the consumer has closed the queue: nothing more is wanted.
  bool Push(Chunk chunk) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || chunks_.size() < kMaxChunks; });
    if (closed_) return false;
    chunks_.push_back(std::move(chunk));
    changed_.notify_all();
    return true;
  }

  // Waits for a block; an empty one says that the queue is closed and drained.
  Chunk Pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || !chunks_.empty(); });
    if (chunks_.empty()) return {};
    Chunk chunk = std::move(chunks_.front());
    chunks_.pop_front();
    changed_.notify_all();
    return chunk;
  }

  // Called by either side: the producer at the end of its data, the consumer when it wants no more.
  void Close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  static constexpr size_t kMaxChunks = 16;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Chunk> chunks_;
  bool closed_ = false;
};

}  // namespace hmvm

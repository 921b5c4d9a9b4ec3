// A call to be made later, on a thread that somebody else runs.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace hmvm {

// Moved, never copied: what the call owns has one owner at any time, so that it is known on which thread it
// is destroyed. (std::function asks for copies, and so for shared pointers, whose last owner is whoever is
// slowest.)
class Task {
 public:
  template <typename Call>
  requires(!std::same_as<std::remove_cvref_t<Call>, Task>) Task(Call&& call)  // NOLINT: implicit by intent
      : call_(std::make_unique<Owned<std::decay_t<Call>>>(std::forward<Call>(call))) {}

  void operator()() { call_->Make(); }

 private:
  struct Callable {
    virtual ~Callable() = default;
    virtual void Make() = 0;
  };
  template <typename Call>
  struct Owned final : Callable {
    explicit Owned(Call&& given) : call(std::move(given)) {}
    explicit Owned(const Call& given) : call(given) {}
    void Make() override { call(); }
    Call call;
  };

  std::unique_ptr<Callable> call_;
};

}  // namespace hmvm

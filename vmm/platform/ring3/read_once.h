// For what a guest may change while it is looked at: a value is fetched once, and what was checked is what is
// used.
#pragma once

namespace hmvm::ring3 {

template <typename T>
T ReadOnce(const T& place) {
  static_assert(sizeof(T) <= sizeof(void*));
  return *const_cast<const volatile T*>(&place);
}

}  // namespace hmvm::ring3

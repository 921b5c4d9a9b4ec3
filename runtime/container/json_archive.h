// Plain values to JSON and back, by one description of their fields for both ways:
//
//   template <typename Archive>
//   void Describe(Archive& archive, In<Archive, DeviceRate>& rate) {
//     archive.Field("device", rate.device);
//     archive.Field("per_s", rate.per_s);
//   }
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace hmvm {

// What an archive is given: a constant one to write, one to fill to read.
template <typename Archive, typename Value>
using In = typename Archive::template Given<Value>;

class JsonWriter {
 public:
  template <typename Value>
  using Given = const Value;

  // Any bytes.
  void Field(const char* key, const std::string& value) { object_[key] = Bytes(value); }
  template <std::integral Value>
  void Field(const char* key, const Value& value) {
    object_[key] = value;
  }
  void Field(const char* key, const std::chrono::nanoseconds& value) { object_[key] = value.count(); }
  template <typename Value>
  void Field(const char* key, const Value& value) {
    object_[key] = Object(value);
  }
  template <typename Value>
  void Field(const char* key, const std::vector<Value>& values) {
    nlohmann::json list = nlohmann::json::array();
    for (const Value& value : values) list.push_back(Item(value));
    object_[key] = std::move(list);
  }
  // One that records of earlier versions do not have.
  template <typename Value>
  void NewField(const char* key, const Value& value) {
    Field(key, value);
  }
  // As what `to` makes of it; `from` is its way back.
  template <typename Value, typename To, typename From>
  void Field(const char* key, const Value& value, To to, From) {
    const Kept<To, Value> kept(to(value));
    Field(key, kept);
  }
  template <typename Value, typename To, typename From>
  void NewField(const char* key, const Value& value, To to, From from) {
    Field(key, value, to, from);
  }

  const nlohmann::json& object() const { return object_; }

  // What is kept of a value that goes by `to`.
  template <typename To, typename Value>
  using Kept = std::conditional_t<std::is_same_v<std::invoke_result_t<To, const Value&>, std::string_view>,
                                  std::string, std::remove_cvref_t<std::invoke_result_t<To, const Value&>>>;

 private:
  static nlohmann::json Bytes(const std::string& bytes);
  static nlohmann::json Item(const std::string& value) { return Bytes(value); }
  template <typename Value>
  static nlohmann::json Item(const Value& value) {
    return Object(value);
  }
  template <typename Value>
  static nlohmann::json Object(const Value& value) {
    JsonWriter inner;
    Describe(inner, value);
    return std::move(inner.object_);
  }

  nlohmann::json object_ = nlohmann::json::object();
};

// Checks the types of all that it reads, and remembers the first thing that is wrong: nlohmann's get() would
// throw.
class JsonReader {
 public:
  template <typename Value>
  using Given = Value;

  // Both outlive it.
  JsonReader(const nlohmann::json& object, std::string* problem);

  void Field(const char* key, std::string& out);
  void Field(const char* key, bool& out);
  template <std::integral Value>
  void Field(const char* key, Value& out) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr || !value->is_number_integer()) return Fail(key);
    out = value->get<Value>();
  }
  void Field(const char* key, std::chrono::nanoseconds& out) {
    int64_t ns = 0;
    Field(key, ns);
    out = std::chrono::nanoseconds(ns);
  }
  template <typename Value>
  void Field(const char* key, Value& out) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return Fail(key);
    JsonReader inner(*value, problem_);
    Describe(inner, out);
  }
  template <typename Value>
  void Field(const char* key, std::vector<Value>& out) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr || !value->is_array()) return Fail(key);
    for (const nlohmann::json& item : *value) {
      if (!Item(item, out.emplace_back())) return Fail(key);
    }
  }
  template <typename Value>
  void NewField(const char* key, Value& out) {
    if (Find(key) != nullptr) Field(key, out);
  }
  template <typename Value, typename To, typename From>
  void Field(const char* key, Value& out, To, From from) {
    JsonWriter::Kept<To, Value> kept = {};
    Field(key, kept);
    auto value = from(kept);
    if (!value.has_value()) return Fail(key);
    out = std::move(*value);
  }
  template <typename Value, typename To, typename From>
  void NewField(const char* key, Value& out, To to, From from) {
    if (Find(key) != nullptr) Field(key, out, to, from);
  }

 private:
  const nlohmann::json* Find(const char* key) const;
  void Fail(const char* key);
  static bool Bytes(const nlohmann::json& value, std::string& out);
  static bool Item(const nlohmann::json& value, std::string& out) { return Bytes(value, out); }
  template <typename Value>
  bool Item(const nlohmann::json& value, Value& out) {
    JsonReader inner(value, problem_);
    Describe(inner, out);
    return true;  // what was wrong in it is told already
  }

  const nlohmann::json& object_;
  std::string* const problem_;
};

}  // namespace hmvm

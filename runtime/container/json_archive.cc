#include "runtime/container/json_archive.h"

namespace hmvm {
namespace {

using nlohmann::json;

// Arguments and variables come from images and command lines: any bytes. Those that are not UTF-8 can't stand
// in JSON as they are, so every byte above ASCII is written as the code point of the same number.
std::string BytesToText(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xc0 | (byte >> 6));
      text += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return text;
}

bool TextToBytes(std::string_view text, std::string& bytes) {
  bytes.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      bytes += text[i];
    } else if ((lead & 0xfc) == 0xc0 && i + 1 < text.size()) {
      bytes += static_cast<char>((lead & 3) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3f));
    } else {
      return false;
    }
  }
  return true;
}

bool IsUtf8(std::string_view bytes) {
  // nlohmann's own check: dump() throws on what is not UTF-8, unless told to ignore.
  const json value = std::string(bytes);
  return json::parse(value.dump(-1, ' ', false, json::error_handler_t::ignore)).get<std::string>() == bytes;
}

}  // namespace

// Plain text where that is possible, so that a person can read the file; {"latin1": ...} where it is not.
json JsonWriter::Bytes(const std::string& bytes) {
  if (IsUtf8(bytes)) return bytes;
  return {{"latin1", BytesToText(bytes)}};
}

JsonReader::JsonReader(const json& object, std::string* problem) : object_(object), problem_(problem) {
  if (!object.is_object() && problem_->empty()) *problem_ = "not an object";
}

void JsonReader::Field(const char* key, std::string& out) {
  const json* value = Find(key);
  if (value == nullptr || !Bytes(*value, out)) Fail(key);
}

void JsonReader::Field(const char* key, bool& out) {
  const json* value = Find(key);
  if (value == nullptr || !value->is_boolean()) return Fail(key);
  out = value->get<bool>();
}

const json* JsonReader::Find(const char* key) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  return found == object_.end() ? nullptr : &*found;
}

void JsonReader::Fail(const char* key) {
  if (problem_->empty()) *problem_ = "'" + std::string(key) + "' is missing or of the wrong type";
}

bool JsonReader::Bytes(const json& value, std::string& out) {
  if (value.is_string()) {
    out = value.get<std::string>();
    return true;
  }
  if (!value.is_object() || !value.contains("latin1") || !value["latin1"].is_string()) return false;
  return TextToBytes(value["latin1"].get<std::string>(), out);
}

}  // namespace hmvm

#include "security/profile/yaml_tree.h"

#include <algorithm>
#include <optional>
#include <sstream>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "base/escape.h"

namespace hmvm {
namespace {

YamlPlace PlaceOf(const YAML::Mark& mark) { return {.line = mark.line + 1, .column = mark.column + 1}; }

// Takes the parser's events in order. After the first thing that is wrong nothing more is kept: the parser
// goes on to the end of the text, whose size is bounded.
class TreeBuilder : public YAML::EventHandler {
 public:
  struct Problem {
    YamlPlace place;
    std::string what;
  };

  std::optional<Problem> problem;
  YamlNode root;

  void OnDocumentStart(const YAML::Mark& mark) override { root.place = PlaceOf(mark); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    CheckExtras(mark, "", anchor);
    Add(YamlNode::Kind::kNothing, mark, "");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(mark, "aliases are not taken: write it out");
  }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    Refuse(mark, "anchors are not taken: write it out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    CheckExtras(mark, tag, anchor);
    Add(YamlNode::Kind::kScalar, mark, value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    CheckExtras(mark, tag, anchor);
    Begin(YamlNode::Kind::kList, mark);
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    CheckExtras(mark, tag, anchor);
    Begin(YamlNode::Kind::kMap, mark);
  }
  void OnMapEnd() override { End(); }

 private:
  void Refuse(const YAML::Mark& mark, const std::string& what) {
    if (!problem.has_value()) problem = Problem{PlaceOf(mark), what};
  }

  void CheckExtras(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) Refuse(mark, "anchors are not taken: write it out");
    // "?" and "!" are its words for plain and quoted ones without a tag.
    if (!tag.empty() && tag != "?" && tag != "!") Refuse(mark, "tags are not taken");
  }

  bool AwaitsKey() const {
    return !open_.empty() && open_.back()->kind == YamlNode::Kind::kMap &&
           open_.back()->children.size() % 2 == 0;
  }

  YamlNode* Add(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& text) {
    if (AwaitsKey() && kind != YamlNode::Kind::kScalar) Refuse(mark, "a key must be a word");
    if (AwaitsKey()) CheckTwice(mark, text);
    if (problem.has_value()) return nullptr;
    YamlNode& node = open_.empty() ? root : open_.back()->children.emplace_back();
    node.kind = kind;
    node.place = PlaceOf(mark);
    node.text = text;
    return &node;
  }

  void CheckTwice(const YAML::Mark& mark, const std::string& key) {
    const std::vector<YamlNode>& children = open_.back()->children;
    for (size_t i = 0; i < children.size(); i += 2) {
      if (children[i].text == key) {
        return Refuse(mark, "'" + Escape(key, 64) + "' is there twice, first in line " +
                                std::to_string(children[i].place.line));
      }
    }
  }

  // A parent's list grows only while none of its children is open, so the pointers stay good.
  void Begin(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (open_.size() >= kMaxYamlDepth)
      Refuse(mark, "nested deeper than " + std::to_string(kMaxYamlDepth) + " levels");
    if (YamlNode* node = Add(kind, mark, "")) open_.push_back(node);
  }
  void End() {
    if (!problem.has_value()) open_.pop_back();
  }

  std::vector<YamlNode*> open_;
};

}  // namespace

Error YamlError(const std::string& file, const YamlPlace& place, const std::string& what) {
  return Error{0, file + ":" + std::to_string(place.line) + ":" + std::to_string(place.column) + ": " + what};
}

Result<YamlNode> ParseYaml(const std::string& file, std::string_view text) {
  if (text.size() > kMaxYamlBytes) {
    return Error{0, file + ": longer than the " + std::to_string(kMaxYamlBytes >> 10) + " KiB that are read"};
  }
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return Error{0, file + ": holds a NUL byte"};
  }
  TreeBuilder builder;
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return YamlNode();
    TreeBuilder further;
    if (!builder.problem.has_value() && parser.HandleNextDocument(further)) {
      builder.problem = TreeBuilder::Problem{further.root.place, "a second document begins"};
    }
  } catch (const YAML::Exception& error) {
    if (!builder.problem.has_value()) return YamlError(file, PlaceOf(error.mark), error.msg);
  }
  if (builder.problem.has_value()) return YamlError(file, builder.problem->place, builder.problem->what);
  return std::move(builder.root);
}

}  // namespace hmvm

// The tree of commands: described by the families, parsed by CLI11, which only command_tree.cc knows of.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "runtime/cli/options/command.h"

namespace CLI {
class App;
}  // namespace CLI

namespace hmvm {

// What the help says of a command.
struct CommandText {
  const char* name;
  const char* description;
  const char* usage;     // as "image rm IMAGE..."
  const char* examples;  // lines, with two spaces in front
};

// Makes something of what was typed, or says what is wrong with it.
using Take = std::function<Result<>(const std::string& typed)>;
using Check = std::function<Result<>()>;

// A command of the tree, and what becomes of it once it was typed.
struct CommandNode {
  CLI::App* app = nullptr;
  std::vector<Check> checks;  // in this order, when all words have their places
  // For a command whose words may look like options: takes all behind its own options. An error names the
  // word that is missing.
  std::function<Result<>(std::vector<std::string> words)> take_words;
  std::function<Command()> result;
};

// What a command takes. The values that are named here must live as long as the tree, as the command's own
// options do. A value's default is shown in the help.
class Arguments {
 public:
  explicit Arguments(CommandNode& node) : node_(node) {}

  void Flag(const char* names, bool& value, const char* help);
  void Option(const char* names, std::string& value, const char* help);
  // Tells an empty value from none.
  void Option(const char* names, std::optional<std::string>& value, const char* help);
  // `take` gets the value, or the default unless that is empty: an empty value stands for none then.
  void Option(const char* names, const char* initial, const char* help, Take take);
  // One value each time the option is given: not the words that follow.
  void List(const char* names, std::vector<std::string>& values, const char* help);
  void List(const char* names, const char* help, Take take);

  void Word(const char* name, std::string& value, const char* help);
  void OptionalWord(const char* name, std::string& value, const char* help);
  void Words(const char* name, std::vector<std::string>& values, const char* help);
  void OptionalWords(const char* name, std::vector<std::string>& values, const char* help);
  // Options end at the first word that is none: it and all that follows are words, whatever they look like.
  // The first is called `first_name` and must be there; one more must if it has a name.
  void WordsBehind(const char* first_name, std::string& first, const char* second_name,
                   std::vector<std::string>& further);

  void Alias(const char* name);
  // Is asked after the values that were named before.
  void AddCheck(Check check) { node_.checks.push_back(std::move(check)); }

 private:
  CommandNode& node_;
};

// The same, with the values that the command is made of.
template <typename Options>
class CommandArguments : public Arguments {
 public:
  CommandArguments(CommandNode& node, Options& options) : Arguments(node), options_(options) {}
  Options* operator->() const { return &options_; }
  Options& operator*() const { return options_; }

 private:
  Options& options_;
};

// Commands under one word, or under none. A handle: the tree has them.
class CommandGroup {
 public:
  template <typename Options>
  CommandArguments<Options> Add(const CommandText& text) {
    const auto options = std::make_shared<Options>();
    CommandNode& node = AddNode(text);
    node.result = [options] { return Command(*options); };
    return {node, *options};
  }
  CommandGroup AddGroup(const char* name, const char* description, const char* examples);

 private:
  friend class CommandTree;
  using Nodes = std::map<const CLI::App*, CommandNode>;  // a node keeps its address
  CommandGroup(Nodes& nodes, CLI::App* app) : nodes_(nodes), app_(app) {}
  CommandNode& AddNode(const CommandText& text);

  Nodes& nodes_;
  CLI::App* const app_;
};

class CommandTree {
 public:
  CommandTree(const char* program, const char* description, const char* footer);
  ~CommandTree();
  CommandTree(const CommandTree&) = delete;
  CommandTree& operator=(const CommandTree&) = delete;

  // Of the program itself, before the command.
  Arguments& program() { return program_arguments_; }
  CommandGroup& commands() { return commands_; }

  // Once. `arguments` without the program's name.
  Result<Command> Parse(std::vector<std::string> arguments);

 private:
  CLI::App* Chosen() const;
  std::string ChosenName() const;
  Error Complaint(const std::string& what) const;
  Result<> CutWords(std::vector<std::string>& arguments);

  const std::unique_ptr<CLI::App> app_;
  CommandNode program_;
  Arguments program_arguments_{program_};
  CommandGroup::Nodes nodes_;
  CommandGroup commands_;
  std::vector<std::string> words_;  // cut off before CLI11 sees them
};

}  // namespace hmvm

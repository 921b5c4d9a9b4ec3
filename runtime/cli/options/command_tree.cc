#include "runtime/cli/options/command_tree.h"

#include <algorithm>

#include <CLI/CLI.hpp>

namespace hmvm {
namespace {

constexpr char kHelpFlag[] = "-h,--help";
constexpr char kHelpOfHelp[] = "Show this text";

// CLI11's help with a first line of ours: it does not know of the words behind the options of `run` and
// `exec`.
class UsageFormatter : public CLI::Formatter {
 public:
  explicit UsageFormatter(std::string usage) : usage_(std::move(usage)) {}
  std::string make_usage(const CLI::App*, std::string) const override { return "Usage: " + usage_ + "\n"; }

 private:
  const std::string usage_;
};

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// How many words from `begin` on are options of `app` and their values. Splits "--option=" in two, whose
// empty value CLI11 would not see.
size_t SkipOptions(const CLI::App* app, std::vector<std::string>& words, size_t begin) {
  const auto takes_value = [&](const std::string& name) {
    const CLI::Option* option = app->get_option_no_throw(name);
    return option != nullptr && option->get_items_expected_max() > 0;
  };
  size_t i = begin;
  while (i < words.size() && words[i].size() > 1 && words[i][0] == '-' && words[i] != "--") {
    const std::string& word = words[i];
    bool value_follows = false;
    if (word.starts_with("--")) {
      if (word.ends_with('=') && takes_value(word.substr(0, word.size() - 1))) {
        words[i].pop_back();
        words.insert(words.begin() + static_cast<ptrdiff_t>(i) + 1, "");
      }
      value_follows = takes_value(words[i]);
    } else {
      for (size_t letter = 1; letter < word.size(); ++letter) {
        if (!takes_value({'-', word[letter]})) continue;
        value_follows = letter + 1 == word.size();
        break;
      }
    }
    i += value_follows ? 2 : 1;
  }
  return std::min(i, words.size()) - begin;
}

}  // namespace

// --- What a command takes.

void Arguments::Flag(const char* names, bool& value, const char* help) {
  node_.app->add_flag(names, value, help);
}

void Arguments::Option(const char* names, std::string& value, const char* help) {
  node_.app->add_option(names, value, help)->capture_default_str();
}

void Arguments::Option(const char* names, std::optional<std::string>& value, const char* help) {
  const auto typed = std::make_shared<std::string>();
  const CLI::Option* const option = node_.app->add_option(names, *typed, help);
  AddCheck([typed, option, &value]() -> Result<> {
    if (option->count() > 0) value = *typed;
    return {};
  });
}

void Arguments::Option(const char* names, const char* initial, const char* help, Take take) {
  const auto typed = std::make_shared<std::string>(initial);
  Option(names, *typed, help);
  const bool may_be_empty = typed->empty();
  AddCheck([typed, may_be_empty, take = std::move(take)]() -> Result<> {
    if (may_be_empty && typed->empty()) return {};
    return take(*typed);
  });
}

void Arguments::List(const char* names, std::vector<std::string>& values, const char* help) {
  node_.app->add_option(names, values, help)->allow_extra_args(false);
}

void Arguments::List(const char* names, const char* help, Take take) {
  const auto typed = std::make_shared<std::vector<std::string>>();
  List(names, *typed, help);
  AddCheck([typed, take = std::move(take)]() -> Result<> {
    for (const std::string& value : *typed) HMVM_TRY(take(value));
    return {};
  });
}

void Arguments::Word(const char* name, std::string& value, const char* help) {
  node_.app->add_option(name, value, help)->required();
}

void Arguments::OptionalWord(const char* name, std::string& value, const char* help) {
  node_.app->add_option(name, value, help);
}

void Arguments::Words(const char* name, std::vector<std::string>& values, const char* help) {
  node_.app->add_option(name, values, help)->required();
}

void Arguments::OptionalWords(const char* name, std::vector<std::string>& values, const char* help) {
  node_.app->add_option(name, values, help);
}

void Arguments::WordsBehind(const char* first_name, std::string& first, const char* second_name,
                            std::vector<std::string>& further) {
  node_.take_words = [first_name, second_name, &first, &further](std::vector<std::string> words) -> Result<> {
    if (words.empty()) return Error{0, std::string(first_name) + " is missing"};
    if (words.size() == 1 && second_name != nullptr) {
      return Error{0, std::string(second_name) + " is missing"};
    }
    first = std::move(words.front());
    words.erase(words.begin());
    further = std::move(words);
    return {};
  };
}

void Arguments::Alias(const char* name) { node_.app->alias(name); }

// --- The tree.

CommandNode& CommandGroup::AddNode(const CommandText& text) {
  CLI::App* const app = app_->add_subcommand(text.name, text.description);
  app->set_help_flag(kHelpFlag, kHelpOfHelp);
  app->formatter(std::make_shared<UsageFormatter>(std::string("hmvm ") + text.usage));
  app->footer(std::string("Examples:\n") + text.examples);
  CommandNode& node = nodes_[app];
  node.app = app;
  return node;
}

CommandGroup CommandGroup::AddGroup(const char* name, const char* description, const char* examples) {
  CLI::App* const app = app_->add_subcommand(name, description);
  app->set_help_flag(kHelpFlag, kHelpOfHelp);
  app->require_subcommand(1);
  app->footer(std::string("Examples:\n") + examples);
  return {nodes_, app};
}

CommandTree::CommandTree(const char* program, const char* description, const char* footer)
    : app_(std::make_unique<CLI::App>(description, program)), commands_(nodes_, app_.get()) {
  app_->require_subcommand(1);
  app_->set_help_flag(kHelpFlag, kHelpOfHelp);
  app_->footer(footer);
  program_.app = app_.get();
}

CommandTree::~CommandTree() = default;

Result<Command> CommandTree::Parse(std::vector<std::string> arguments) {
  HMVM_TRY(CutWords(arguments));
  std::reverse(arguments.begin(), arguments.end());  // how CLI11 wants them
  try {
    app_->parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    return Command(HelpText{Chosen()->help()});
  } catch (const CLI::ParseError& error) {
    return Complaint(FirstLine(error.what()));
  }
  const CommandNode& node = nodes_.at(Chosen());
  if (node.take_words) {
    if (auto taken = node.take_words(words_); !taken.has_value()) return Complaint(taken.error().what);
  }
  for (const Check& check : node.checks) HMVM_TRY(check());
  return node.result();
}

// The innermost command that was named.
CLI::App* CommandTree::Chosen() const {
  CLI::App* chosen = app_.get();
  while (!chosen->get_subcommands().empty()) chosen = chosen->get_subcommands().front();
  return chosen;
}

std::string CommandTree::ChosenName() const {
  std::string name;
  const CLI::App* chosen = app_.get();
  for (;;) {
    name += (name.empty() ? "" : " ") + chosen->get_name();
    if (chosen->get_subcommands().empty()) return name;
    chosen = chosen->get_subcommands().front();
  }
}

Error CommandTree::Complaint(const std::string& what) const {
  return Error{0, what + "; see `" + ChosenName() + " --help`"};
}

Result<> CommandTree::CutWords(std::vector<std::string>& arguments) {
  const CLI::App* app = app_.get();
  size_t i = 0;
  while (i < arguments.size()) {
    i += SkipOptions(app, arguments, i);
    if (i == arguments.size()) break;
    const auto node = nodes_.find(app);
    if (node != nodes_.end() && node->second.take_words) {
      const size_t first = arguments[i] == "--" ? i + 1 : i;
      words_.assign(arguments.begin() + static_cast<ptrdiff_t>(first), arguments.end());
      arguments.resize(i);
      break;
    }
    if (app->get_require_subcommand_min() == 0) break;
    const auto named =
        app->get_subcommands([&](const CLI::App* command) { return command->check_name(arguments[i]); });
    if (named.empty()) return Complaint("unknown command '" + arguments[i] + "'");
    app = named.front();
    ++i;
  }
  return {};
}

}  // namespace hmvm

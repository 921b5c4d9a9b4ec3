// The runtimes that are compared, and one root file system for all of them: an image of hmvm's, and unpacked
// the bundle of runc and runsc, who make no layers of it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace hmvm::bench {

using Command = std::vector<std::string>;

Command operator+(Command front, const Command& back);

// Runs a command to its end and returns what it printed; ends the bench unless it exits with 0.
std::string Must(const Command& command);
// Of what a command printed; without its newline.
std::string LastLine(const std::string& output);

// A temporary folder with the states of all runtimes. Containers are its user's to remove. Best static in
// Main(), as Fail() destroys such objects only.
class Runtimes {
 public:
  Runtimes();
  ~Runtimes();
  Runtimes(const Runtimes&) = delete;
  Runtimes& operator=(const Runtimes&) = delete;

  // Imports `layout` as `image`. `arguments` is the JSON array of what runc and runsc run.
  void Prepare(const std::filesystem::path& layout, const std::string& image,
               const std::string& arguments) const;

  // Command lines up to where a subcommand follows. runc's and runsc's are empty when they are not installed.
  Command Hmvm() const;
  Command Runc() const;
  Command Runsc() const;  // on its default platform

  const std::filesystem::path& bundle() const { return dir_; }
  // A name for a container of runc's or runsc's: their cgroups are the host's.
  std::string id() const { return dir_.filename(); }

 private:
  std::filesystem::path dir_;
};

}  // namespace hmvm::bench

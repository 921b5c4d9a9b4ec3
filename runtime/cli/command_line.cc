#include "runtime/cli/command_line.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <memory>

#include <CLI/CLI.hpp>

#include "base/size.h"
#include "runtime/container/duration.h"
#include "runtime/container/process_config.h"

namespace hmvm {
namespace {

// Values are kept as they were typed and checked by us, so that all errors read alike.
struct Typed {
  std::string cpus;
  std::string cpu_shares = "0";
  std::string cpuset_cpus;
  std::string memory = "256m";
  std::string memory_swap = "0";
  std::string pids_limit = "-1";
  std::vector<std::string> read_bps;
  std::vector<std::string> write_bps;
  std::vector<std::string> read_iops;
  std::vector<std::string> write_iops;
  std::string tail = "all";
  std::string timeout = "10";
  std::string signal = "KILL";
  std::string format = "table";
  std::string count = "1";
  std::string restart = "no";
  std::string health_interval;
  std::string health_timeout;
  std::string health_start_period;
  std::string health_retries;
  std::string since;
  std::vector<std::string> filters;
};

constexpr char kSnapshotOrFile[] = "Its name; a word with a / is the path of an exported one";

// CLI11's help with a first line of ours: it does not know of the words behind the options of `run` and
// `exec`.
class UsageFormatter : public CLI::Formatter {
 public:
  explicit UsageFormatter(std::string usage) : usage_(std::move(usage)) {}
  std::string make_usage(const CLI::App*, std::string) const override { return "Usage: " + usage_ + "\n"; }

 private:
  const std::string usage_;
};

// The tree of commands. CLI11 keeps pointers to the values, so they live here, all of them; the one that was
// chosen is copied out.
class Parser {
 public:
  Parser() {
    app_.name("hmvm");
    app_.description("Containers that are microVMs: each runs under a Linux kernel of its own.");
    app_.require_subcommand(1);
    app_.set_help_flag("-h,--help", "Show this text");
    app_.add_option("--root", line_.root, "Folder of images and containers")->capture_default_str();
    app_.add_option("--run-root", line_.run_root, "Folder of sockets")->capture_default_str();
    app_.footer(
        "Every command has --help with examples. First steps:\n"
        "  hmvm image import ./layout --name busybox\n"
        "  hmvm run --rm busybox uname -r");
    AddRun();
    AddCreate();
    AddStart();
    AddRestart();
    AddPause();
    AddResume();
    AddEvents();
    AddStats();
    AddTop();
    AddExec();
    AddPs();
    AddLogs();
    AddStop();
    AddKill();
    AddRm();
    AddWait();
    AddInspect();
    AddImages(app_.add_subcommand("images", "List images"), "hmvm images");
    AddImage();
    AddSnapshot();
    AddRestore();
    AddFork();
    AddTemplate();
    AddProfile();
    AddGuard();
    AddAudit();
    AddCheck();
    AddVersion();
  }

  Result<CommandLine> Parse(std::vector<std::string> arguments) {
    HMVM_TRY(CutWords(arguments));
    std::reverse(arguments.begin(), arguments.end());  // how CLI11 wants them
    try {
      app_.parse(std::move(arguments));
    } catch (const CLI::CallForHelp&) {
      line_.command = HelpText{Chosen()->help()};
      return line_;
    } catch (const CLI::ParseError& error) {
      return Complaint(FirstLine(error.what()));
    }
    HMVM_TRY(finish_.at(Chosen())());
    return line_;
  }

 private:
  using Finish = std::function<Result<>()>;

  // The innermost command that was named.
  CLI::App* Chosen() {
    CLI::App* chosen = &app_;
    while (!chosen->get_subcommands().empty()) chosen = chosen->get_subcommands().front();
    return chosen;
  }
  std::string ChosenName() {
    std::string name;
    CLI::App* chosen = &app_;
    for (;;) {
      name += (name.empty() ? "" : " ") + chosen->get_name();
      if (chosen->get_subcommands().empty()) return name;
      chosen = chosen->get_subcommands().front();
    }
  }
  Error Complaint(const std::string& what) { return Error{0, what + "; see `" + ChosenName() + " --help`"}; }
  static std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

  CLI::App* Add(const std::string& name, const std::string& description, const std::string& usage,
                const std::string& examples, Finish finish, CLI::App* parent = nullptr) {
    CLI::App* command = (parent == nullptr ? &app_ : parent)->add_subcommand(name, description);
    command->set_help_flag("-h,--help", "Show this text");
    command->formatter(std::make_shared<UsageFormatter>("hmvm " + usage));
    command->footer("Examples:\n" + examples);
    finish_[command] = std::move(finish);
    return command;
  }

  // One value each time the option is given: not the words that follow.
  static void AddList(CLI::App* command, const char* names, std::vector<std::string>& list,
                      const char* help) {
    command->add_option(names, list, help)->allow_extra_args(false);
  }

  // Options of `run`, `create` and `exec` end at the first word that is none: it and all that follows belong
  // to the container, whatever they look like. They are cut off into words_ before CLI11 sees them.
  Result<> CutWords(std::vector<std::string>& arguments) {
    CLI::App* app = &app_;
    size_t i = 0;
    while (i < arguments.size()) {
      i += SkipOptions(app, arguments, i);
      if (i == arguments.size()) break;
      if (app == run_app_ || app == create_app_ || app == exec_app_) {
        const size_t first = arguments[i] == "--" ? i + 1 : i;
        words_.assign(arguments.begin() + static_cast<ptrdiff_t>(first), arguments.end());
        arguments.resize(i);
        break;
      }
      if (app->get_require_subcommand_min() == 0) break;
      const auto named =
          app->get_subcommands([&](CLI::App* command) { return command->check_name(arguments[i]); });
      if (named.empty()) return Complaint("unknown command '" + arguments[i] + "'");
      app = named.front();
      ++i;
    }
    return {};
  }

  // How many words from `begin` on are options of `app` and their values. Splits "--option=" in two, whose
  // empty value CLI11 would not see.
  static size_t SkipOptions(CLI::App* app, std::vector<std::string>& words, size_t begin) {
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

  // Hands out the words: first the named ones, which must be there.
  Result<> TakeWords(std::initializer_list<std::pair<const char*, std::string*>> front,
                     std::vector<std::string>& rest) {
    size_t taken = 0;
    for (const auto& [what, value] : front) {
      if (taken == words_.size()) return Complaint(std::string(what) + " is missing");
      *value = words_[taken++];
    }
    rest.assign(words_.begin() + static_cast<ptrdiff_t>(taken), words_.end());
    return {};
  }

  // What a machine is made of, for the commands that make one.
  void AddMachine(CLI::App* command, std::string& kernel, std::string& platform) {
    command->add_option(
        "--cpus", typed_.cpus,
        "Processors, as 2 or 0.5: so much of their time, on as many virtual ones as that takes "
        "(default: one virtual processor, its time unlimited)");
    command
        ->add_option("-m,--memory", typed_.memory,
                     "Memory of the whole guest, its kernel and writable files included; suffixes b, k, m, g")
        ->capture_default_str();
    command->add_option("--kernel", kernel, "Guest kernel: a vmlinux or bzImage (default: hmvm's own)");
    command->add_option("--platform", platform, "auto, hardware or ring3; see `hmvm check`")
        ->capture_default_str();
  }

  template <typename Options>
  Result<> TakeMachine(Options& options) const {
    uint64_t quota_us = kCpuPeriodUs;
    if (!typed_.cpus.empty()) HMVM_TRY(Take("--cpus", ParseCpuQuota(typed_.cpus), quota_us));
    options.cpus = CpusForQuota(quota_us);
    HMVM_TRY(Take("--memory", ParseSize(typed_.memory), options.memory_bytes));
    if (options.platform != "auto" && options.platform != "hardware" && options.platform != "ring3") {
      return Error{0, "--platform '" + options.platform + "': there are auto, hardware and ring3"};
    }
    return {};
  }

  void AddRun() {
    CLI::App* run = Add("run", "Run a command in a new container", "run [OPTIONS] IMAGE [COMMAND...]",
                        "  hmvm run --rm busybox uname -r\n"
                        "  hmvm run -it --rm busybox                   a shell; Ctrl-P Ctrl-Q detaches\n"
                        "  hmvm run -d --name web -m 512m busybox httpd -f\n"
                        "  echo text | hmvm run -i --rm busybox wc -c\n"
                        "  hmvm run --rm -e MODE=test -w /tmp -u nobody busybox env",
                        [this]() -> Result<> {
                          HMVM_TRY(FinishRun(run_app_));
                          line_.command = run_;
                          return {};
                        });
    run->add_flag("-d,--detach", run_.detach, "Print the container's id and leave it running");
    AddContainerOptions(run);
    run_app_ = run;
  }

  void AddCreate() {
    create_app_ = Add("create", "Make a container without starting it", "create [OPTIONS] IMAGE [COMMAND...]",
                      "  hmvm create --name web -m 512m busybox httpd -f; hmvm start web\n"
                      "  hmvm create -it --name shell busybox; hmvm start -ai shell",
                      [this]() -> Result<> {
                        HMVM_TRY(FinishRun(create_app_));
                        line_.command = CreateOptions{run_};
                        return {};
                      });
    AddContainerOptions(create_app_);
  }

  // What a container is made of, for `run` and `create`.
  void AddContainerOptions(CLI::App* run) {
    run->add_flag("--rm", run_.remove, "Remove the container when it has ended");
    run->add_flag("-i,--interactive", run_.interactive, "Pass standard input on");
    run->add_flag("-t,--tty", run_.terminal, "Give the command a terminal");
    run->add_option("--name", run_.name, "A name for the container");
    AddList(run, "-e,--env", run_.env, "Set a variable: NAME=VALUE, or NAME to hand on ours");
    AddList(run, "--env-file", run_.env_files, "Set the variables that a file lists, a line each");
    run->add_option("-w,--workdir", run_.working_dir, "Working directory of the command");
    run->add_option("-u,--user", run_.user, "User: NAME|UID[:GROUP|GID]");
    run->add_option("--hostname", run_.hostname, "Host name (default: the beginning of the id)");
    run->add_option("--entrypoint", entrypoint_, "Run this instead of the image's entrypoint");
    run->add_flag("--read-only", run_.read_only, "Make the root file system read-only");
    AddConfinement(run);
    AddMachine(run, run_.kernel, run_.platform);
    run->add_option("--seccomp", run_.seccomp,
                    "A system call that the VMM never makes: kill ends it; log, off: for development of hmvm")
        ->capture_default_str();
    AddResources(run);
    run->add_flag("--no-template", run_.no_template,
                  "Boot the guest in place of starting it from a template; see `hmvm template --help`");
    run->add_flag("--require-guard", run_.require_guard,
                  "Do not run without the eBPF guard; see `hmvm guard --help`");
    run->add_option("--stop-signal", run_.stop_signal,
                    "What `stop` sends first (default: the image's, or TERM)");
    run->add_option("--restart", typed_.restart,
                    "Start it again when it has ended: no, on-failure[:N], always or unless-stopped")
        ->capture_default_str();
    run->add_option("--health-cmd", run_.health.command,
                    "A shell's line that tells by its exit code how it is");
    run->add_option("--health-interval", typed_.health_interval, "Time between two checks (default: 30s)");
    run->add_option("--health-timeout", typed_.health_timeout, "How long one may take (default: 30s)");
    run->add_option("--health-retries", typed_.health_retries,
                    "So many failures in a row mean unhealthy (default: 3)");
    run->add_option("--health-start-period", typed_.health_start_period,
                    "Failures do not count for so long after the start (default: 0s)");
    run->add_flag("--no-healthcheck", run_.health.none, "Without the image's health check");
  }

  void AddConfinement(CLI::App* run) {
    AddList(run, "--cap-add", run_.confinement.cap_add, "Add a capability: NET_ADMIN, or ALL");
    AddList(run, "--cap-drop", run_.confinement.cap_drop, "Take a capability away, or ALL");
    run->add_flag("--privileged", run_.confinement.privileged,
                  "All capabilities, system calls, devices and paths, inside its own guest");
    AddList(run, "--security-opt", run_.confinement.security_opts,
            "seccomp=FILE|unconfined, no-new-privileges, systempaths=unconfined");
    run->add_option("--security-profile", run_.security_profile,
                    "default, strict or a file; see `hmvm profile --help`")
        ->capture_default_str();
  }

  static Result<> TakeDuration(const char* option, const std::string& typed,
                               std::optional<std::chrono::nanoseconds>& wish) {
    if (typed.empty()) return {};
    auto duration = ParseDuration(typed);
    if (!duration.has_value()) return Wrap(option, duration.error());
    wish = *duration;
    return {};
  }

  Result<> FinishHealth() {
    HMVM_TRY(TakeDuration("--health-interval", typed_.health_interval, run_.health.interval));
    HMVM_TRY(TakeDuration("--health-timeout", typed_.health_timeout, run_.health.timeout));
    HMVM_TRY(TakeDuration("--health-start-period", typed_.health_start_period, run_.health.start_period));
    if (typed_.health_retries.empty()) return {};
    const auto retries = ParseNumber(typed_.health_retries);
    if (!retries.has_value() || *retries > UINT32_MAX) {
      return Error{0, "--health-retries '" + typed_.health_retries + "': give a number"};
    }
    run_.health.retries = static_cast<uint32_t>(*retries);
    return {};
  }

  Result<> FinishRun(CLI::App* app) {
    HMVM_TRY(TakeWords({{"IMAGE", &run_.image}}, run_.command));
    HMVM_TRY(TakeMachine(run_));
    HMVM_TRY(TakeResources());
    if (app->get_option("--entrypoint")->count() > 0) run_.entrypoint = entrypoint_;
    if (!run_.stop_signal.empty()) HMVM_TRY(ParseSignal(run_.stop_signal));
    HMVM_TRY(FinishHealth());
    HMVM_TRY_ASSIGN(run_.restart_policy, ParseRestartPolicy(typed_.restart));
    if (run_.remove && run_.restart_policy != RestartPolicy{}) {
      return Error{0, "--rm and --restart contradict each other: one that is removed can't start again"};
    }
    return {};
  }

  void AddResources(CLI::App* run) {
    run->add_option("--cpu-shares", typed_.cpu_shares,
                    "Weight against the 1024 of others when time is short: 2 to 262144; 0 for the same")
        ->capture_default_str();
    run->add_option("--cpuset-cpus", typed_.cpuset_cpus,
                    "The host's processors to run on: 0-2,5 (default: all)");
    run->add_option(
           "--memory-swap", typed_.memory_swap,
           "Memory and swap together. The guest has no swap: what is more than --memory may be swapped out "
           "by the host; the same as --memory: nothing may; -1 or 0: all")
        ->capture_default_str();
    run->add_option("--pids-limit", typed_.pids_limit,
                    "Most processes and threads at a time; -1 sets no limit")
        ->capture_default_str();
    AddList(run, "--device-read-bps", typed_.read_bps,
            "Bytes a second: /dev/vda:1mb for the image, the one disk");
    AddList(run, "--device-write-bps", typed_.write_bps, "The same for writing");
    AddList(run, "--device-read-iops", typed_.read_iops, "Operations a second: /dev/vda:100");
    AddList(run, "--device-write-iops", typed_.write_iops, "The same for writing");
  }

  // What a parser made of an option's value, its error with the option's name in front.
  template <typename Value, typename Into>
  static Result<> Take(const char* option, Result<Value> value, Into& into) {
    if (!value.has_value()) return Error{0, std::string(option) + " " + value.error().what};
    into = std::move(*value);
    return {};
  }
  static Result<> TakeRates(const char* option, const std::vector<std::string>& texts, bool bytes,
                            std::vector<DeviceRate>& into) {
    for (const std::string& text : texts) {
      HMVM_TRY(Take(option, ParseDeviceRate(text, bytes), into.emplace_back()));
    }
    return {};
  }

  Result<> TakeResources() {
    Resources& resources = run_.resources;
    if (!typed_.cpus.empty()) HMVM_TRY(Take("--cpus", ParseCpuQuota(typed_.cpus), resources.cpu_quota_us));
    HMVM_TRY(Take("--cpu-shares", ParseCpuShares(typed_.cpu_shares), resources.cpu_shares));
    if (!typed_.cpuset_cpus.empty()) {
      std::vector<uint32_t> cpus;
      HMVM_TRY(Take("--cpuset-cpus", ParseCpuset(typed_.cpuset_cpus), cpus));
      resources.cpuset_cpus = typed_.cpuset_cpus;
    }
    HMVM_TRY(Take("--memory-swap", ParseMemorySwap(typed_.memory_swap), resources.memory_swap_bytes));
    HMVM_TRY(Take("--pids-limit", ParsePidsLimit(typed_.pids_limit), resources.pids_limit));
    HMVM_TRY(TakeRates("--device-read-bps", typed_.read_bps, true, resources.device_read_bps));
    HMVM_TRY(TakeRates("--device-write-bps", typed_.write_bps, true, resources.device_write_bps));
    HMVM_TRY(TakeRates("--device-read-iops", typed_.read_iops, false, resources.device_read_iops));
    return TakeRates("--device-write-iops", typed_.write_iops, false, resources.device_write_iops);
  }

  void AddExec() {
    CLI::App* exec =
        Add("exec", "Run a further command in a running container", "exec [OPTIONS] CONTAINER COMMAND...",
            "  hmvm exec web ps\n"
            "  hmvm exec -it web sh\n"
            "  hmvm exec -e DEBUG=1 -w /srv -u www web ./tool --verbose",
            [this] { return FinishExec(); });
    exec->add_flag("-i,--interactive", exec_.interactive, "Pass standard input on");
    exec->add_flag("-t,--tty", exec_.terminal, "Give the command a terminal");
    AddList(exec, "-e,--env", exec_.env, "Set a variable: NAME=VALUE, or NAME to hand on ours");
    exec->add_flag("--privileged", exec_.privileged, "With all capabilities and system calls");
    exec->add_option("-w,--workdir", exec_.working_dir, "Working directory (default: the container's)");
    exec->add_option("-u,--user", exec_.user, "User: NAME|UID[:GROUP|GID] (default: the container's)");
    exec_app_ = exec;
  }

  Result<> FinishExec() {
    std::string program;
    HMVM_TRY(TakeWords({{"CONTAINER", &exec_.container}, {"COMMAND", &program}}, exec_.command));
    exec_.command.insert(exec_.command.begin(), program);
    line_.command = exec_;
    return {};
  }

  void AddFormat(CLI::App* command) {
    command->add_option("--format", typed_.format, "table or json")->capture_default_str();
  }
  Result<> TakeFormat(bool& json) {
    if (typed_.format != "table" && typed_.format != "json") {
      return Error{0, "--format '" + typed_.format + "': there are table and json"};
    }
    json = typed_.format == "json";
    return {};
  }

  void AddPs() {
    CLI::App* ps = Add("ps", "List containers", "ps [OPTIONS]",
                       "  hmvm ps\n"
                       "  hmvm ps -a                    those that have ended, too\n"
                       "  hmvm rm $(hmvm ps -aq)\n"
                       "  hmvm ps -a --format json | jq '.[].name'",
                       [this]() -> Result<> {
                         HMVM_TRY(TakeFormat(ps_.json));
                         line_.command = ps_;
                         return {};
                       });
    ps->add_flag("-a,--all", ps_.all, "All, not only those that run");
    ps->add_flag("-q,--quiet", ps_.quiet, "Ids only");
    AddFormat(ps);
  }

  void AddLogs() {
    CLI::App* logs =
        Add("logs", "Show what a container has written", "logs [OPTIONS] CONTAINER",
            "  hmvm logs web\n"
            "  hmvm logs -f --tail 20 web\n"
            "  hmvm logs web 2>/dev/null     its standard output only",
            [this]() -> Result<> {
              if (typed_.tail != "all") {
                const auto tail = ParseNumber(typed_.tail);
                if (!tail.has_value()) {
                  return Error{0, "--tail '" + typed_.tail + "': give a number of lines or 'all'"};
                }
                logs_.tail = *tail;
              }
              line_.command = logs_;
              return {};
            });
    logs->add_flag("-f,--follow", logs_.follow, "Go on until the container ends");
    logs->add_option("-n,--tail", typed_.tail, "Only the last lines")->capture_default_str();
    logs->add_option("CONTAINER", logs_.container, "Name or id")->required();
  }

  static void AddContainers(CLI::App* command, std::vector<std::string>& containers) {
    command->add_option("CONTAINER", containers, "Names or ids")->required();
  }

  void AddStart() {
    CLI::App* start =
        Add("start", "Start containers that have been made or have ended", "start [OPTIONS] CONTAINER...",
            "  hmvm start web db\n"
            "  hmvm start -a web             with its output, until it ends\n"
            "  hmvm start -ai shell          and with our input",
            [this]() -> Result<> {
              line_.command = start_;
              return {};
            });
    start->add_flag("-a,--attach", start_.attach, "Show its output and pass signals on, until it ends");
    start->add_flag("-i,--interactive", start_.interactive, "The same, and pass standard input on");
    AddContainers(start, start_.containers);
  }

  void AddRestart() {
    CLI::App* restart =
        Add("restart", "Stop containers and start them again", "restart [OPTIONS] CONTAINER...",
            "  hmvm restart web\n"
            "  hmvm restart -t 1 web db",
            [this]() -> Result<> {
              HMVM_TRY_ASSIGN(restart_.timeout_s, Seconds());
              line_.command = restart_;
              return {};
            });
    AddTimeout(restart);
    AddContainers(restart, restart_.containers);
  }

  void AddPause() {
    CLI::App* pause = Add("pause", "Hold containers: nothing in them moves until they are resumed",
                          "pause CONTAINER...", "  hmvm pause web", [this]() -> Result<> {
                            line_.command = pause_;
                            return {};
                          });
    AddContainers(pause, pause_.containers);
  }

  void AddResume() {
    CLI::App* resume = Add("resume", "Let paused containers go on", "resume CONTAINER...",
                           "  hmvm resume web\n"
                           "  hmvm unpause web              the same, as docker names it",
                           [this]() -> Result<> {
                             line_.command = resume_;
                             return {};
                           });
    resume->alias("unpause");
    AddContainers(resume, resume_.containers);
  }

  void AddEvents() {
    CLI::App* events =
        Add("events", "Show what has happened to containers, a line of JSON each", "events [OPTIONS]",
            "  hmvm events --since 10m\n"
            "  hmvm events -f --filter container=web --filter event=stopped\n"
            "  hmvm events -f | jq -r '[.time, .name, .action] | @tsv'",
            [this]() -> Result<> {
              timespec now = {};
              ::clock_gettime(CLOCK_REALTIME, &now);
              const int64_t now_ns = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
              if (!typed_.since.empty()) {
                HMVM_TRY_ASSIGN(events_.since_unix_ns, ParseMoment(typed_.since, now_ns));
              }
              for (const std::string& filter : typed_.filters) HMVM_TRY(events_.filter.Add(filter));
              line_.command = events_;
              return {};
            });
    events->add_flag("-f,--follow", events_.follow, "Go on with what happens");
    events->add_option("--since", typed_.since, "Only from then on: a time, or how long ago");
    AddList(events, "--filter", typed_.filters, "Only container=NAME, image=NAME, event=ACTION");
  }

  void AddStats() {
    CLI::App* stats =
        Add("stats", "Show what containers use, once a second", "stats [OPTIONS] [CONTAINER...]",
            "  hmvm stats                    all that run\n"
            "  hmvm stats --no-stream web db\n"
            "  hmvm stats --format json web | jq .memory_bytes",
            [this]() -> Result<> {
              HMVM_TRY(TakeFormat(stats_.json));
              line_.command = stats_;
              return {};
            });
    stats->add_flag("--no-stream", stats_.no_stream, "Once only");
    AddFormat(stats);
    stats->add_option("CONTAINER", stats_.containers, "Names or ids");
  }

  void AddTop() {
    CLI::App* top = Add("top", "List the processes of a container", "top [OPTIONS] CONTAINER",
                        "  hmvm top web\n"
                        "  hmvm top --format json web",
                        [this]() -> Result<> {
                          HMVM_TRY(TakeFormat(top_.json));
                          line_.command = top_;
                          return {};
                        });
    AddFormat(top);
    top->add_option("CONTAINER", top_.container, "Name or id")->required();
  }

  void AddTimeout(CLI::App* command) {
    command->add_option("-t,--time", typed_.timeout, "Seconds between stop signal and SIGKILL")
        ->capture_default_str();
  }
  Result<uint32_t> Seconds() const {
    const auto timeout = ParseNumber(typed_.timeout);
    if (!timeout.has_value() || *timeout > UINT32_MAX / 1000) {
      return Error{0, "--time '" + typed_.timeout + "': give a number of seconds"};
    }
    return static_cast<uint32_t>(*timeout);
  }

  void AddStop() {
    CLI::App* stop =
        Add("stop", "Stop containers: the stop signal, then SIGKILL", "stop [OPTIONS] CONTAINER...",
            "  hmvm stop web\n"
            "  hmvm stop -t 1 web db",
            [this]() -> Result<> {
              HMVM_TRY_ASSIGN(stop_.timeout_s, Seconds());
              line_.command = stop_;
              return {};
            });
    AddTimeout(stop);
    AddContainers(stop, stop_.containers);
  }

  void AddKill() {
    CLI::App* kill = Add("kill", "Send a signal to containers", "kill [OPTIONS] CONTAINER...",
                         "  hmvm kill web                 SIGKILL\n"
                         "  hmvm kill -s HUP web",
                         [this]() -> Result<> {
                           HMVM_TRY_ASSIGN(kill_.signal, ParseSignal(typed_.signal));
                           line_.command = kill_;
                           return {};
                         });
    kill->add_option("-s,--signal", typed_.signal, "Name or number")->capture_default_str();
    AddContainers(kill, kill_.containers);
  }

  void AddRm() {
    CLI::App* rm = Add("rm", "Remove containers", "rm [OPTIONS] CONTAINER...",
                       "  hmvm rm web\n"
                       "  hmvm rm -f $(hmvm ps -aq)     also those that run",
                       [this]() -> Result<> {
                         line_.command = rm_;
                         return {};
                       });
    rm->add_flag("-f,--force", rm_.force, "End the container first, whatever its state");
    AddContainers(rm, rm_.containers);
  }

  void AddWait() {
    CLI::App* wait = Add("wait", "Wait until containers end and print their exit codes", "wait CONTAINER...",
                         "  hmvm wait web", [this]() -> Result<> {
                           line_.command = wait_;
                           return {};
                         });
    AddContainers(wait, wait_.containers);
  }

  void AddInspect() {
    CLI::App* inspect =
        Add("inspect", "Show all that is known of containers, as JSON", "inspect CONTAINER...",
            "  hmvm inspect web\n"
            "  hmvm inspect web | jq -r '.[0].status'",
            [this]() -> Result<> {
              line_.command = inspect_;
              return {};
            });
    AddContainers(inspect, inspect_.containers);
  }

  void AddImages(CLI::App* images, const std::string& usage) {
    images->set_help_flag("-h,--help", "Show this text");
    images->formatter(std::make_shared<UsageFormatter>(usage + " [OPTIONS]"));
    images->footer("Examples:\n  " + usage + "\n  " + usage + " --format json");
    images->add_flag("-q,--quiet", images_.quiet, "Ids only");
    AddFormat(images);
    finish_[images] = [this]() -> Result<> {
      HMVM_TRY(TakeFormat(images_.json));
      line_.command = images_;
      return {};
    };
  }

  void AddImage() {
    CLI::App* image = app_.add_subcommand("image", "Import, list and remove images");
    image->set_help_flag("-h,--help", "Show this text");
    image->require_subcommand(1);
    CLI::App* import = Add(
        "import", "Take an image from an OCI layout, an OCI archive or a docker save archive",
        "image import [OPTIONS] PATH",
        "  hmvm image import ./layout --name busybox\n"
        "  docker save alpine | gzip > alpine.tar.gz; hmvm image import alpine.tar.gz",
        [this]() -> Result<> {
          line_.command = import_;
          return {};
        },
        image);
    import->add_option("--name", import_.name, "Name of the image (default: the one it carries)");
    import->add_option("PATH", import_.path, "Directory or archive; archives may be compressed")->required();
    CLI::App* rm = Add(
        "rm", "Remove images", "image rm IMAGE...", "  hmvm image rm busybox",
        [this]() -> Result<> {
          line_.command = image_rm_;
          return {};
        },
        image);
    rm->add_option("IMAGE", image_rm_.images, "Names or ids")->required();
    AddImages(image->add_subcommand("ls", "List images"), "hmvm image ls");
    image->footer("Examples:\n  hmvm image import ./layout --name busybox\n  hmvm image ls");
  }

  void AddSnapshot() {
    CLI::App* group =
        app_.add_subcommand("snapshot", "Keep a running container as it is, to go on from later");
    group->set_help_flag("-h,--help", "Show this text");
    group->require_subcommand(1);
    CLI::App* create = Add(
        "create", "Write a running container to disk; it goes on", "snapshot create [OPTIONS] CONTAINER NAME",
        "  hmvm snapshot create web before-upgrade\n"
        "  hmvm snapshot create --diff-of before-upgrade web after-upgrade",
        [this]() -> Result<> {
          line_.command = snapshot_create_;
          return {};
        },
        group);
    create->add_option("CONTAINER", snapshot_create_.container, "Name or id")->required();
    create->add_option("NAME", snapshot_create_.name, "A name for the snapshot")->required();
    create->add_option("--diff-of", snapshot_create_.diff_of,
                       "Write only what has changed since this one, the container's last");
    CLI::App* ls = Add(
        "ls", "List snapshots", "snapshot ls [OPTIONS]",
        "  hmvm snapshot ls\n  hmvm snapshot ls --format json",
        [this]() -> Result<> {
          HMVM_TRY(TakeFormat(snapshot_ls_.json));
          line_.command = snapshot_ls_;
          return {};
        },
        group);
    ls->add_flag("-q,--quiet", snapshot_ls_.quiet, "Names only");
    AddFormat(ls);
    CLI::App* inspect = Add(
        "inspect", "Show what a snapshot is of, as JSON", "snapshot inspect SNAPSHOT",
        "  hmvm snapshot inspect before-upgrade\n"
        "  hmvm snapshot inspect ./web.zst",
        [this]() -> Result<> {
          line_.command = snapshot_inspect_;
          return {};
        },
        group);
    inspect->add_option("SNAPSHOT", snapshot_inspect_.name, kSnapshotOrFile)->required();
    CLI::App* rm = Add(
        "rm", "Remove snapshots; diffs of them and containers that went on from them stay",
        "snapshot rm SNAPSHOT...", "  hmvm snapshot rm before-upgrade",
        [this]() -> Result<> {
          line_.command = snapshot_rm_;
          return {};
        },
        group);
    rm->add_option("SNAPSHOT", snapshot_rm_.names, "Names")->required();
    AddSnapshotFiles(group);
    group->footer("Examples:\n  hmvm snapshot create web before-upgrade\n  hmvm restore before-upgrade");
  }

  void AddSnapshotFiles(CLI::App* group) {
    CLI::App* to_file = Add(
        "export", "Put a snapshot into one compressed file; of a diff, all that it builds on, too",
        "snapshot export SNAPSHOT FILE",
        "  hmvm snapshot export before-upgrade web.zst\n"
        "  hmvm snapshot export before-upgrade - | ssh other 'cat > web.zst'",
        [this]() -> Result<> {
          line_.command = snapshot_export_;
          return {};
        },
        group);
    to_file->add_option("SNAPSHOT", snapshot_export_.name, "Its name")->required();
    to_file->add_option("FILE", snapshot_export_.path, "Where to; - for standard output")->required();
    CLI::App* import = Add(
        "import", "Take a snapshot from a file that `export` wrote", "snapshot import FILE [NAME]",
        "  hmvm snapshot import web.zst\n"
        "  hmvm snapshot import web.zst before-upgrade",
        [this]() -> Result<> {
          line_.command = snapshot_import_;
          return {};
        },
        group);
    import->add_option("FILE", snapshot_import_.path, "The file")->required();
    import->add_option("NAME", snapshot_import_.name,
                       "A name for the snapshot (default: the file's, without .zst)");
    CLI::App* merge = Add(
        "merge", "Make a full snapshot of a diff and those that it builds on", "snapshot merge SNAPSHOT NAME",
        "  hmvm snapshot merge after-upgrade whole; hmvm snapshot rm before-upgrade after-upgrade",
        [this]() -> Result<> {
          line_.command = snapshot_merge_;
          return {};
        },
        group);
    merge->add_option("SNAPSHOT", snapshot_merge_.name, "Its name")->required();
    merge->add_option("NAME", snapshot_merge_.merged, "A name for the full one")->required();
  }

  void AddRestore() {
    CLI::App* restore =
        Add("restore", "Make a container that goes on from a snapshot", "restore [OPTIONS] SNAPSHOT",
            "  hmvm restore before-upgrade --name web-again\n"
            "  hmvm restore ./web.zst        without unpacking it first",
            [this]() -> Result<> {
              line_.command = restore_;
              return {};
            });
    restore->add_option("SNAPSHOT", restore_.snapshot, kSnapshotOrFile)->required();
    restore->add_option("--name", restore_.name, "A name for the container");
  }

  void AddFork() {
    CLI::App* fork = Add("fork", "Make running copies of a running container", "fork [OPTIONS] CONTAINER",
                         "  hmvm fork web\n"
                         "  hmvm fork -n 10 worker",
                         [this]() -> Result<> {
                           const auto count = ParseNumber(typed_.count);
                           if (!count.has_value() || *count == 0 || *count > 1000) {
                             return Error{0, "-n '" + typed_.count + "': a number from 1 to 1000"};
                           }
                           fork_.count = static_cast<uint32_t>(*count);
                           line_.command = fork_;
                           return {};
                         });
    fork->add_option("CONTAINER", fork_.container, "Name or id")->required();
    fork->add_option("-n,--count", typed_.count, "How many")->capture_default_str();
  }

  void AddTemplate() {
    CLI::App* group =
        app_.add_subcommand("template", "Look after the booted guests that containers start from");
    group->set_help_flag("-h,--help", "Show this text");
    group->require_subcommand(1);
    CLI::App* build = Add(
        "build", "Boot a guest and keep it for containers of its size to start from",
        "template build [OPTIONS]", "  hmvm template build\n  hmvm template build --cpus 2 -m 1g",
        [this]() -> Result<> {
          HMVM_TRY(TakeMachine(template_build_));
          line_.command = template_build_;
          return {};
        },
        group);
    AddMachine(build, template_build_.kernel, template_build_.platform);
    CLI::App* ls = Add(
        "ls", "List templates", "template ls [OPTIONS]",
        "  hmvm template ls\n  hmvm template ls --format json",
        [this]() -> Result<> {
          HMVM_TRY(TakeFormat(template_ls_.json));
          line_.command = template_ls_;
          return {};
        },
        group);
    ls->add_flag("-q,--quiet", template_ls_.quiet, "Ids only");
    AddFormat(ls);
    CLI::App* rm = Add(
        "rm", "Remove templates; `hmvm run` makes them again when it needs them", "template rm TEMPLATE...",
        "  hmvm template rm $(hmvm template ls -q)",
        [this]() -> Result<> {
          line_.command = template_rm_;
          return {};
        },
        group);
    rm->add_option("TEMPLATE", template_rm_.templates, "Ids, or their beginnings")->required();
    group->footer("Examples:\n  hmvm template build -m 512m\n  hmvm template ls");
  }

  void AddProfile() {
    CLI::App* group = app_.add_subcommand("profile", "Check and show security profiles");
    group->set_help_flag("-h,--help", "Show this text");
    group->require_subcommand(1);
    CLI::App* check = Add(
        "check", "Say what is wrong with profiles", "profile check FILE...", "  hmvm profile check web.yaml",
        [this]() -> Result<> {
          line_.command = profile_check_;
          return {};
        },
        group);
    check->add_option("FILE", profile_check_.files, "Files")->required();
    CLI::App* show = Add(
        "show", "Show all that a profile comes to, its defaults included", "profile show PROFILE",
        "  hmvm profile show strict\n  hmvm profile show web.yaml",
        [this]() -> Result<> {
          line_.command = profile_show_;
          return {};
        },
        group);
    show->add_option("PROFILE", profile_show_.profile, "default, strict or a file")->required();
    group->footer(
        "Examples:\n  hmvm profile show strict > web.yaml\n  hmvm run --security-profile web.yaml busybox");
  }

  void AddGuard() {
    CLI::App* group =
        app_.add_subcommand("guard", "Look after the eBPF guard, which polices virtual machine monitors");
    group->set_help_flag("-h,--help", "Show this text");
    group->require_subcommand(1);
    Add(
        "load", "Load the guard, or bring it to this version; `hmvm run` loads it where there is none",
        "guard load", "  hmvm guard load",
        [this]() -> Result<> {
          line_.command = GuardLoadOptions{};
          return {};
        },
        group);
    Add(
        "unload", "Remove the guard: what runs goes on without", "guard unload", "  hmvm guard unload",
        [this]() -> Result<> {
          line_.command = GuardUnloadOptions{};
          return {};
        },
        group);
    CLI::App* status = Add(
        "status", "Show which layers are active, and what each virtual machine monitor does",
        "guard status [OPTIONS]",
        "  hmvm guard status\n"
        "  hmvm guard status --exits\n"
        "  hmvm guard status --format json | jq '.machines[].calls'",
        [this]() -> Result<> {
          HMVM_TRY(TakeFormat(guard_status_.json));
          line_.command = guard_status_;
          return {};
        },
        group);
    status->add_flag("--exits", guard_status_.exits,
                     "Also count each machine's exits, for a second; that costs the machines some time");
    AddFormat(status);
    group->footer("Examples:\n  hmvm guard load\n  hmvm guard status");
  }

  void AddAudit() {
    CLI::App* group = app_.add_subcommand("audit", "Look after the log of what security has met");
    group->set_help_flag("-h,--help", "Show this text");
    group->require_subcommand(1);
    CLI::App* verify = Add(
        "verify", "Find out whether lines of the audit log were changed, moved or cut off",
        "audit verify [FILE]",
        "  hmvm audit verify\n"
        "  hmvm audit verify /var/backups/audit/audit.jsonl   with its audit.head beside it",
        [this]() -> Result<> {
          line_.command = audit_verify_;
          return {};
        },
        group);
    verify->add_option("FILE", audit_verify_.file, "A log (default: the one below --root)");
    group->footer("Examples:\n  hmvm audit verify");
  }

  void AddCheck() {
    CLI::App* check =
        Add("check", "Show what this host offers to microVMs, and what that means", "check [OPTIONS]",
            "  hmvm check\n"
            "  hmvm check --format json",
            [this]() -> Result<> {
              HMVM_TRY(TakeFormat(check_.json));
              line_.command = check_;
              return {};
            });
    AddFormat(check);
  }

  void AddVersion() {
    CLI::App* version =
        Add("version", "Show the version", "version [OPTIONS]", "  hmvm version", [this]() -> Result<> {
          HMVM_TRY(TakeFormat(version_.json));
          line_.command = version_;
          return {};
        });
    AddFormat(version);
  }

  static std::optional<uint64_t> ParseNumber(const std::string& text) {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [rest, code] = std::from_chars(text.data(), end, value);
    if (code != std::errc() || rest != end) return std::nullopt;
    return value;
  }

  CLI::App app_;
  CommandLine line_;
  std::map<CLI::App*, Finish> finish_;
  std::vector<std::string> words_;  // behind the options of run and exec
  CLI::App* run_app_ = nullptr;
  CLI::App* create_app_ = nullptr;
  CLI::App* exec_app_ = nullptr;

  Typed typed_;
  std::string entrypoint_;
  RunOptions run_;
  StartOptions start_;
  RestartOptions restart_;
  PauseOptions pause_;
  ResumeOptions resume_;
  EventsOptions events_;
  StatsOptions stats_;
  TopOptions top_;
  ExecOptions exec_;
  PsOptions ps_;
  LogsOptions logs_;
  StopOptions stop_;
  KillOptions kill_;
  RmOptions rm_;
  WaitOptions wait_;
  InspectOptions inspect_;
  ImagesOptions images_;
  ImageImportOptions import_;
  ImageRmOptions image_rm_;
  SnapshotCreateOptions snapshot_create_;
  SnapshotLsOptions snapshot_ls_;
  SnapshotInspectOptions snapshot_inspect_;
  SnapshotRmOptions snapshot_rm_;
  SnapshotExportOptions snapshot_export_;
  SnapshotImportOptions snapshot_import_;
  SnapshotMergeOptions snapshot_merge_;
  RestoreOptions restore_;
  ForkOptions fork_;
  TemplateBuildOptions template_build_;
  TemplateLsOptions template_ls_;
  TemplateRmOptions template_rm_;
  ProfileCheckOptions profile_check_;
  ProfileShowOptions profile_show_;
  GuardStatusOptions guard_status_;
  AuditVerifyOptions audit_verify_;
  CheckOptions check_;
  VersionOptions version_;
};

}  // namespace

Result<CommandLine> ParseCommandLine(std::vector<std::string> arguments) {
  const auto parser = std::make_unique<Parser>();
  return parser->Parse(std::move(arguments));
}

}  // namespace hmvm

// A whole `hmvm run --rm IMAGE true` beside runc and runsc on the same root file system, interleaved, so that
// what else the machine does meets all of them alike.
#include <gflags/gflags.h>

#include "bench/measure.h"
#include "bench/runtimes.h"

DEFINE_uint32(count, 20, "runs of each runtime");

namespace hmvm::bench {
namespace {

struct Contender {
  Series wall;
  Command command;
};

}  // namespace

void Main(const std::vector<std::string>&) {
  PrintMachine("bench/run: from the command's start to its end, 'true' of the busybox image");
  const std::string layout =
      LastLine(Must({HMVM_SOURCE_DIR "/images/make-busybox", "-o", HMVM_BUILD_DIR "/bench"}));
  static const Runtimes runtimes;
  runtimes.Prepare(layout, "busybox", R"(["true"])");
  std::vector<Contender> contenders;
  const Command run = {"run", "--bundle", runtimes.bundle(), runtimes.id()};
  if (const Command runc = runtimes.Runc(); !runc.empty())
    contenders.push_back({Series("runc run", "ms"), runc + run});
  if (const Command runsc = runtimes.Runsc(); !runsc.empty()) {
    contenders.push_back({Series("runsc run", "ms"), runsc + run});
  }
  contenders.push_back(
      {Series("hmvm run --rm", "ms"), runtimes.Hmvm() + Command{"run", "--rm", "busybox", "true"}});
  for (unsigned i = 0; i <= FLAGS_count; ++i) {
    Progress("round " + std::to_string(i) + " of " + std::to_string(FLAGS_count));
    for (Contender& contender : contenders) {
      const int64_t start_ns = MonotonicNs();
      Must(contender.command);
      // The first round fills caches and is not counted.
      if (i > 0) contender.wall.Add(static_cast<double>(MonotonicNs() - start_ns) / 1e6);
    }
  }
  std::vector<const Series*> rows;
  for (const Contender& contender : contenders) rows.push_back(&contender.wall);
  PrintTable(rows);
}

}  // namespace hmvm::bench

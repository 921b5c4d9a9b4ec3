#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "security/fd_class.h"
#include "vmm/snapshot/lazy_loader.h"

namespace hmvm {
namespace {

uint64_t AddressOf(const std::byte* place) { return reinterpret_cast<uint64_t>(place); }

}  // namespace

Result<UniqueFd> LazyLoader::OpenUserfaultfd() {
  UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!fd.valid()) return Error{errno, "userfaultfd, which a restore from an exported snapshot needs"};
  return Place(fd_class::kUserfaultfd, std::move(fd));
}

Result<std::unique_ptr<LazyLoader>> LazyLoader::Start(Archive archive, UniqueFd userfaultfd,
                                                      std::span<const MemoryArea> areas,
                                                      std::function<Result<>()> enter,
                                                      std::function<void(Error)> on_error) {
  HMVM_TRY(archive.memory().CheckAreas(areas));
  std::unique_ptr<LazyLoader> loader(new LazyLoader(std::move(archive), std::move(userfaultfd), areas,
                                                    std::move(enter), std::move(on_error)));
  HMVM_TRY(loader->Open());
  HMVM_TRY(loader->Register());
  loader->thread_ = std::thread([loader = loader.get()] { loader->Run(); });
  return loader;
}

LazyLoader::~LazyLoader() {
  if (!thread_.joinable()) return;
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

Result<> LazyLoader::Open() {
  stop_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!stop_.valid()) return Error{errno, "eventfd"};
  HMVM_TRY_ASSIGN(stop_, Place(fd_class::kEvents, std::move(stop_)));
  uffdio_api api = {.api = UFFD_API, .features = 0, .ioctls = 0};
  if (::ioctl(userfaultfd_.get(), UFFDIO_API, &api) < 0) return Error{errno, "UFFDIO_API"};
  return {};
}

// Only what the archive has: all other pages are zero by themselves.
Result<> LazyLoader::Register() {
  for (const PageRun& run : archive_.memory().files()[0].runs.runs()) {
    HMVM_TRY(VisitPages(areas_, run, [this](std::span<std::byte> host, uint64_t) -> Result<> {
      uffdio_register part = {};
      part.range = {.start = AddressOf(host.data()), .len = host.size()};
      part.mode = UFFDIO_REGISTER_MODE_MISSING;
      if (::ioctl(userfaultfd_.get(), UFFDIO_REGISTER, &part) < 0) return Error{errno, "UFFDIO_REGISTER"};
      return {};
    }));
  }
  return {};
}

void LazyLoader::Run() {
  ::pthread_setname_np(::pthread_self(), "loader");
  auto loaded = enter_();
  if (loaded.has_value()) loaded = LoadAll();
  if (!loaded.has_value()) {
    on_error_(loaded.error());
    // Who touches a page that is not there must not get a zero in its place.
    pollfd stop = {.fd = stop_.get(), .events = POLLIN, .revents = 0};
    while (::poll(&stop, 1, -1) < 0 && errno == EINTR) {
    }
  }
  // Nobody waits any more, and pages that the guest gives back are zero.
  userfaultfd_.reset();
}

Result<> LazyLoader::LoadAll() {
  for (size_t frame = 0; frame < loaded_.size(); ++frame) {
    HMVM_TRY_ASSIGN(const bool go_on, ServeTouches());
    if (!go_on) return {};
    if (!loaded_[frame]) HMVM_TRY(Load(frame));
  }
  return {};
}

Result<bool> LazyLoader::ServeTouches() {
  std::array<pollfd, 2> fds = {{{userfaultfd_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
  const int ready = ::poll(fds.data(), fds.size(), 0);
  if (ready < 0 && errno != EINTR) return Error{errno, "poll userfaultfd"};
  if (ready <= 0) return true;
  if (fds[1].revents != 0) return false;
  uffd_msg message;
  while (::read(userfaultfd_.get(), &message, sizeof(message)) == sizeof(message)) {
    if (message.event == UFFD_EVENT_PAGEFAULT) HMVM_TRY(Serve(message.arg.pagefault.address));
  }
  return true;
}

Result<> LazyLoader::Serve(uint64_t address) {
  uint64_t first = 0;
  for (const MemoryArea& area : areas_) {
    const uint64_t offset = address - AddressOf(area.host.data());
    if (offset < area.host.size()) {
      const size_t frame = archive_.FrameOf(first + offset / kPageBytes);
      if (!loaded_[frame]) {
        faulted_frames_.fetch_add(1, std::memory_order_relaxed);
        return Load(frame);
      }
      // Two touched one frame, or the guest gave the page back (a balloon) and takes it again.
      uffdio_zeropage zero = {};
      zero.range = {.start = address / kPageBytes * kPageBytes, .len = kPageBytes};
      if (::ioctl(userfaultfd_.get(), UFFDIO_ZEROPAGE, &zero) == 0) return {};
      if (errno != EEXIST && errno != EAGAIN) return Error{errno, "UFFDIO_ZEROPAGE"};
      if (::ioctl(userfaultfd_.get(), UFFDIO_WAKE, &zero.range) < 0) return Error{errno, "UFFDIO_WAKE"};
      return {};
    }
    first += area.host.size() / kPageBytes;
  }
  return Error{EFAULT, "a touch outside the machine's memory"};
}

Result<> LazyLoader::Load(size_t frame) {
  HMVM_TRY(archive_.ReadFrame(frame, pages_));
  std::span<const std::byte> bytes = pages_.bytes;
  for (const PageRun& run : pages_.runs) {
    HMVM_TRY(VisitPages(areas_, run, [this, &bytes](std::span<std::byte> host, uint64_t) -> Result<> {
      HMVM_TRY(Fill(host, bytes.first(host.size())));
      bytes = bytes.subspan(host.size());
      return {};
    }));
  }
  loaded_[frame] = true;
  loaded_frames_.fetch_add(1, std::memory_order_relaxed);
  return {};
}

Result<> LazyLoader::Fill(std::span<std::byte> host, std::span<const std::byte> bytes) const {
  while (!host.empty()) {
    uffdio_copy copy = {};
    copy.dst = AddressOf(host.data());
    copy.src = AddressOf(bytes.data());
    copy.len = host.size();
    if (::ioctl(userfaultfd_.get(), UFFDIO_COPY, &copy) == 0) return {};
    if (errno != EAGAIN) return Error{errno, "UFFDIO_COPY"};
    // The address space was changing: some of it is done, or none (then it is negative).
    const auto done = static_cast<size_t>(std::max<int64_t>(copy.copy, 0));
    host = host.subspan(done);
    bytes = bytes.subspan(done);
  }
  return {};
}

}  // namespace hmvm

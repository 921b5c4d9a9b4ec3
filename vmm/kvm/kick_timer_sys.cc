#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mutex>

#include "vmm/kvm/kick_timer.h"

// glibc 2.36 does not name this field of the UAPI's struct sigevent.
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace hmvm {
namespace {

const int kTimerSignal = SIGRTMIN + 1;  // SIGRTMIN is Vcpu::Kick()'s

// As Vcpu::Kick() from within the thread: whether the signal comes in KVM_RUN or before it, KVM_RUN returns.
void OnTimerSignal(int, siginfo_t* info, void*) {
  // SAFETY: the value is the address of the vCPU's kvm_run, which outlives the timer.
  KickFlag(*static_cast<kvm_run*>(info->si_value.sival_ptr)).Raise();
}

}  // namespace

KickTimer::~KickTimer() {
  if (timer_.has_value()) ::timer_delete(*timer_);
}

Result<> KickTimer::Start(const Vcpu& vcpu, clockid_t clock) {
  static std::once_flag installed;
  std::call_once(installed, [] {
    struct sigaction action = {};
    action.sa_sigaction = OnTimerSignal;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(kTimerSignal, &action, nullptr);
  });
  sigset_t unblocked;
  sigemptyset(&unblocked);
  sigaddset(&unblocked, kTimerSignal);
  ::pthread_sigmask(SIG_UNBLOCK, &unblocked, nullptr);

  struct sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = kTimerSignal;
  event.sigev_value.sival_ptr = &vcpu.run();
  event.sigev_notify_thread_id = static_cast<pid_t>(::syscall(SYS_gettid));
  timer_t timer;
  if (::timer_create(clock, &event, &timer) != 0) return Error{errno, "timer_create for a vCPU"};
  timer_ = timer;
  return {};
}

void KickTimer::Arm(std::chrono::nanoseconds in) const {
  if (!timer_.has_value()) return;
  constexpr auto kNsPerSecond = 1'000'000'000;
  itimerspec spec = {};
  spec.it_value.tv_sec = in.count() / kNsPerSecond;
  spec.it_value.tv_nsec = in.count() % kNsPerSecond;
  ::timer_settime(*timer_, 0, &spec, nullptr);
}

bool KickTimer::armed() const {
  itimerspec left;
  return timer_.has_value() && ::timer_gettime(*timer_, &left) == 0 &&
         (left.it_value.tv_sec != 0 || left.it_value.tv_nsec != 0);
}

}  // namespace hmvm

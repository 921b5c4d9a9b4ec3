// register_check SECONDS SEED: fills all vector registers that this processor has with a pattern made from
// SEED, and looks again and again, with other processes in between, whether they still hold it. Prints the
// registers that it checked and the number of checks; exit code 1 when one was wrong.
#include <immintrin.h>
#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

struct alignas(64) Register {
  uint64_t lanes[8];
};
constexpr int kRegisters = 4;  // of each kind: low and, with AVX-512, high numbers

void Fill(Register* registers, uint64_t seed) {
  for (int r = 0; r < kRegisters; ++r) {
    for (int lane = 0; lane < 8; ++lane) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      registers[r].lanes[lane] = seed;
    }
  }
}

// Each function loads the registers, lets other processes run for some loop turns, with no system call and
// with one (another path through the kernel), and stores what they hold then.
#define WAIT_AND_YIELD                                \
  "mov $2000, %%ecx\n1: pause\n dec %%ecx\n jnz 1b\n" \
  "mov $24, %%eax\n syscall\n" /* sched_yield */      \
  "mov $2000, %%ecx\n2: pause\n dec %%ecx\n jnz 2b\n"

void HoldSse(const Register* in, Register* out) {
  asm volatile(
      "movups 0(%0), %%xmm0\n movups 64(%0), %%xmm5\n movups 128(%0), %%xmm10\n movups 192(%0), "
      "%%xmm15\n" WAIT_AND_YIELD
      "movups %%xmm0, 0(%1)\n movups %%xmm5, 64(%1)\n movups %%xmm10, 128(%1)\n movups %%xmm15, 192(%1)\n"
      :
      : "r"(in), "r"(out)
      : "rax", "rcx", "r11", "xmm0", "xmm5", "xmm10", "xmm15", "memory", "cc");
}

__attribute__((target("avx"))) void HoldAvx(const Register* in, Register* out) {
  asm volatile(
      "vmovups 0(%0), %%ymm0\n vmovups 64(%0), %%ymm5\n vmovups 128(%0), %%ymm10\n vmovups 192(%0), "
      "%%ymm15\n" WAIT_AND_YIELD
      "vmovups %%ymm0, 0(%1)\n vmovups %%ymm5, 64(%1)\n vmovups %%ymm10, 128(%1)\n vmovups %%ymm15, "
      "192(%1)\n vzeroupper\n"
      :
      : "r"(in), "r"(out)
      : "rax", "rcx", "r11", "xmm0", "xmm5", "xmm10", "xmm15", "memory", "cc");
}

__attribute__((target("avx512f"))) void HoldAvx512(const Register* in, Register* out) {
  asm volatile(
      "vmovups 0(%0), %%zmm0\n vmovups 64(%0), %%zmm7\n vmovups 128(%0), %%zmm16\n vmovups 192(%0), %%zmm31\n"
      "kmovw 0(%0), %%k3\n" WAIT_AND_YIELD
      "vmovups %%zmm0, 0(%1)\n vmovups %%zmm7, 64(%1)\n vmovups %%zmm16, 128(%1)\n vmovups %%zmm31, 192(%1)\n"
      "kmovw %%k3, 256(%1)\n vzeroupper\n"
      :
      : "r"(in), "r"(out)
      : "rax", "rcx", "r11", "xmm0", "xmm7", "xmm16", "xmm31", "k3", "memory", "cc");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: register_check SECONDS SEED\n");
    return 2;
  }
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f");
  const bool avx = __builtin_cpu_supports("avx");
  const size_t width_bytes = avx512 ? 64 : avx ? 32 : 16;

  Register in[kRegisters];
  Fill(in, std::strtoull(argv[2], nullptr, 10));
  const std::time_t end = std::time(nullptr) + std::atoi(argv[1]);
  uint64_t checks = 0, wrong = 0;
  while (std::time(nullptr) < end) {
    Register out[kRegisters + 1] = {};
    if (avx512) {
      HoldAvx512(in, out);
    } else if (avx) {
      HoldAvx(in, out);
    } else {
      HoldSse(in, out);
    }
    bool good = true;
    for (int r = 0; r < kRegisters; ++r) good = good && std::memcmp(&in[r], &out[r], width_bytes) == 0;
    if (avx512) good = good && std::memcmp(&in[0], &out[kRegisters], 2) == 0;
    ++checks;
    wrong += good ? 0 : 1;
  }
  std::printf("%s: %llu checks, %llu wrong\n",
              avx512 ? "avx512"
              : avx  ? "avx"
                     : "sse",
              static_cast<unsigned long long>(checks), static_cast<unsigned long long>(wrong));
  return wrong == 0 ? 0 : 1;
}

#include "security/guard/guard.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <optional>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/file.h"
#include "base/folder.h"
#include "bpf/guard.h"
#include "security/cgroup.h"
#include "security/guard/event.h"
#include "security/guard/objects.h"

namespace hmvm {
namespace {

struct CloseObject {
  void operator()(bpf_object* object) const { ::bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, CloseObject>;

struct DestroyLink {
  void operator()(bpf_link* link) const { ::bpf_link__destroy(link); }  // a pin holds it
};
using Link = std::unique_ptr<bpf_link, DestroyLink>;

constexpr const char* kMaps[] = {"vms", "policies", "rings"};

std::string FirstLine(const std::string& path) {
  const std::string text = ReadFile(path).value_or("");
  return text.substr(0, text.find('\n'));
}

// What an errno of libbpf's means here, for people.
std::string WhyNot(const std::string& layer, int code) {
  struct stat btf = {};
  if (::stat("/sys/kernel/btf/vmlinux", &btf) < 0 || btf.st_size == 0) {
    return "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)";
  }
  if (layer == "lsm") {
    const std::string modules = FirstLine("/sys/kernel/security/lsm");
    if (!modules.empty() && modules.find("bpf") == std::string::npos) {
      return "\"bpf\" is not among the kernel's security modules (lsm=)";
    }
  }
  const std::string lockdown = FirstLine("/sys/kernel/security/lockdown");
  if (code == EPERM && layer == "lsm" && lockdown.find('[') != std::string::npos &&
      lockdown.find("[none]") == std::string::npos) {
    return "the kernel refuses it, as under lockdown (" + lockdown + ")";
  }
  if (code == EPERM || code == EACCES) {
    return "the kernel refuses it: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or CAP_SYS_ADMIN, are needed";
  }
  if (code == ESRCH || code == ENOENT) return "the kernel has no such hook";
  return std::strerror(code);
}

// Not its own words on standard error: what fails is told by us, in a line.
void SilenceLibbpf() {
  static const auto silent = ::libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
  (void)silent;
}

// Loads an object; its maps are those of `pins`, made where they are not there, or its own. `only`: no
// program but the one with this number.
Result<Object> LoadPrograms(const GuardLayer& layer, const GuardPins* pins, std::optional<size_t> only) {
  SilenceLibbpf();
  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "hmvm_guard");
  Object object(::bpf_object__open_mem(layer.object.data(), layer.object.size(), &options));
  if (object == nullptr) return Error{0, WhyNot(layer.name, errno)};
  for (const char* name : kMaps) {
    bpf_map* const map = ::bpf_object__find_map_by_name(object.get(), name);
    if (pins != nullptr && map != nullptr && ::bpf_map__set_pin_path(map, pins->Map(name).c_str()) < 0) {
      return Error{errno, "pin map '" + std::string(name) + "'"};
    }
  }
  size_t number = 0;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object.get()) {
    if (only.has_value()) ::bpf_program__set_autoload(program, number == *only);
    ++number;
  }
  if (only.has_value() && *only >= number) return Error{ENOENT, "program " + std::to_string(*only)};
  if (const int result = ::bpf_object__load(object.get()); result < 0) {
    return Error{0, WhyNot(layer.name, -result)};
  }
  return object;
}

Result<Object> LoadObject(const GuardLayer& layer, const GuardPins* pins) {
  if (!layer.alternatives) return LoadPrograms(layer, pins, std::nullopt);
  Result<Object> first = LoadPrograms(layer, pins, 0);
  for (size_t other = 1; !first.has_value(); ++other) {
    auto object = LoadPrograms(layer, pins, other);
    if (object.has_value()) return object;
    if (object.error().code == ENOENT) break;  // there is no such program: all have been tried
  }
  return first;
}

Result<Link> Attach(const std::string& layer, bpf_program* program, int cgroup_root) {
  const bpf_prog_type type = ::bpf_program__type(program);
  const bool cgroup = type == BPF_PROG_TYPE_CGROUP_SOCK || type == BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
  Link link(cgroup ? ::bpf_program__attach_cgroup(program, cgroup_root) : ::bpf_program__attach(program));
  if (link == nullptr) return Error{0, WhyNot(layer, errno)};
  return link;
}

// Loads a layer and pins it in `folder`/NAME, which appears as a whole.
Result<> PinLayer(const GuardLayer& layer, const GuardPins& pins, int cgroup_root,
                  const std::string& folder) {
  HMVM_TRY_ASSIGN(const Object object, LoadObject(layer, &pins));
  const std::string half_made = folder + "/loading";
  (void)RemoveTree(half_made);
  auto pinned = [&]() -> Result<> {
    if (::mkdir(half_made.c_str(), 0700) < 0) return Error{errno, "create folder '" + half_made + "'"};
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object.get()) {
      if (!::bpf_program__autoload(program)) continue;
      HMVM_TRY_ASSIGN(const Link link, Attach(layer.name, program, cgroup_root));
      const std::string pin = half_made + "/" + ::bpf_program__name(program);
      if (const int result = ::bpf_link__pin(link.get(), pin.c_str()); result < 0) {
        return Error{-result, "pin '" + pin + "'"};
      }
    }
    const std::string made = folder + "/" + layer.name;
    if (::rename(half_made.c_str(), made.c_str()) < 0) return Error{errno, "make '" + made + "'"};
    return {};
  }();
  if (!pinned.has_value()) (void)RemoveTree(half_made);
  return pinned;
}

// The layers that are not there yet, into a version's folder. True: some were.
Result<bool> PinLayers(const GuardPins& pins, const std::string& folder,
                       const std::vector<std::string>& there) {
  const std::string cgroup2 = FindCgroup2();
  if (cgroup2.empty()) return Error{0, "the host has no cgroup hierarchy of version 2 mounted"};
  HMVM_TRY_ASSIGN(const UniqueFd root, OpenFile(cgroup2, O_RDONLY | O_DIRECTORY));
  bool some = false;
  for (const GuardLayer& layer : GuardLayers()) {
    if (layer.on_demand || std::ranges::find(there, layer.name) != there.end()) continue;
    auto pinned = PinLayer(layer, pins, root.get(), folder);
    if (!pinned.has_value() && &layer == &GuardLayers().front()) return pinned.error();
    some = some || pinned.has_value();
  }
  return some;
}

// linux/kvm.h's KVM_EXIT_*, of which x86 knows these; it has no names at run time.
std::string ExitReasonName(size_t reason) {
  static const std::map<size_t, const char*> names = {{0, "unknown"},
                                                      {1, "exception"},
                                                      {2, "io"},
                                                      {3, "hypercall"},
                                                      {4, "debug"},
                                                      {5, "hlt"},
                                                      {6, "mmio"},
                                                      {7, "irq_window_open"},
                                                      {8, "shutdown"},
                                                      {9, "fail_entry"},
                                                      {10, "intr"},
                                                      {11, "set_tpr"},
                                                      {12, "tpr_access"},
                                                      {16, "nmi"},
                                                      {17, "internal_error"},
                                                      {24, "system_event"},
                                                      {26, "ioapic_eoi"},
                                                      {27, "hyperv"},
                                                      {29, "x86_rdmsr"},
                                                      {30, "x86_wrmsr"},
                                                      {31, "dirty_ring_full"},
                                                      {32, "ap_reset_hold"},
                                                      {33, "x86_bus_lock"},
                                                      {34, "xen"},
                                                      {37, "notify"},
                                                      {39, "memory_fault"},
                                                      {40, "tdx"},
                                                      {GUARD_REASONS - 1, "failed"}};
  const auto found = names.find(reason);
  return found == names.end() ? std::to_string(reason) : found->second;
}

GuardVmStatus StatusOf(uint64_t cgroup, const guard_vm& vm) {
  GuardVmStatus status{.cgroup = cgroup,
                       .name = std::string(vm.name, ::strnlen(vm.name, sizeof(vm.name))),
                       .state = vm.state == GUARD_SEALED ? "sealed" : "setting up",
                       .audit = vm.audit != 0,
                       .breaches = vm.breaches,
                       .lost_events = vm.lost,
                       .processes = vm.processes,
                       .programs = vm.programs,
                       .uring_operations = vm.uring,
                       .exits = vm.exits,
                       .calls = {},
                       .exit_reasons = {}};
  for (size_t i = 0; i < GUARD_SYSCALLS; ++i) {
    if (vm.calls[i] != 0) status.calls[SyscallName(static_cast<int>(i))] = vm.calls[i];
  }
  for (size_t i = 0; i < GUARD_REASONS; ++i) {
    if (vm.reasons[i] != 0) status.exit_reasons[ExitReasonName(i)] = vm.reasons[i];
  }
  return status;
}

// All keys of a map by cgroup; those that come or go meanwhile may be missed.
std::vector<uint64_t> KeysOf(const UniqueFd& map) {
  std::vector<uint64_t> keys;
  uint64_t key = 0;
  const uint64_t* before = nullptr;
  // A key that goes while we are at it sends us back to the beginning.
  constexpr size_t kMost = 1 << 16;
  while (keys.size() < kMost && ::bpf_map_get_next_key(map.get(), before, &key) == 0) {
    keys.push_back(key);
    before = &keys.back();
  }
  return keys;
}

Result<UniqueFd> OpenPin(const std::string& path) {
  UniqueFd fd(::bpf_obj_get(path.c_str()));
  if (!fd.valid()) return Error{errno, "open '" + path + "'"};
  return fd;
}

}  // namespace

Result<GuardMaps> GuardMaps::Open(const GuardPins& pins) {
  GuardMaps maps;
  HMVM_TRY_ASSIGN(maps.vms, OpenPin(pins.Map("vms")));
  HMVM_TRY_ASSIGN(maps.policies, OpenPin(pins.Map("policies")));
  HMVM_TRY_ASSIGN(maps.rings, OpenPin(pins.Map("rings")));
  return maps;
}

Result<bool> LoadGuard(const GuardPins& pins) {
  HMVM_TRY_ASSIGN(const UniqueFd lock, pins.Lock(/*make=*/true));
  (void)RemoveTree(pins.Loading());
  const std::string ours = pins.Version(GuardVersion());
  const std::vector<std::string> versions = pins.Versions();
  if (std::ranges::find(versions, GuardVersion()) != versions.end()) {
    return PinLayers(pins, ours, pins.LayersOf(GuardVersion()));
  }
  const auto loaded = [&]() -> Result<> {
    if (::mkdir(pins.Loading().c_str(), 0700) < 0) {
      return Error{errno, "create folder '" + pins.Loading() + "'"};
    }
    HMVM_TRY(PinLayers(pins, pins.Loading(), {}));
    if (::rename(pins.Loading().c_str(), ours.c_str()) < 0) return Error{errno, "make '" + ours + "'"};
    return {};
  }();
  if (!loaded.has_value()) {
    (void)RemoveTree(pins.Loading());
    if (versions.empty()) pins.RemoveAll();
    return loaded.error();
  }
  for (const std::string& old : versions) (void)RemoveTree(pins.Version(old));
  return true;
}

Result<bool> UnloadGuard(const GuardPins& pins) {
  const auto lock = pins.Lock(/*make=*/false);
  if (!lock.has_value() && lock.error().code == ENOENT) return false;
  if (!lock.has_value()) return lock.error();
  // A VMM whose machine has an entry would be policed again by the next guard, with what the entry says.
  if (const auto maps = GuardMaps::Open(pins); maps.has_value()) {
    for (const uint64_t cgroup : KeysOf(maps->vms)) ::bpf_map_delete_elem(maps->vms.get(), &cgroup);
  }
  pins.RemoveAll();
  return true;
}

GuardStatus StatusOfGuard(const GuardPins& pins) {
  GuardStatus status;
  const std::vector<std::string> versions = pins.Versions();
  std::vector<std::string> active;
  if (!versions.empty()) {
    status.version = versions.front();
    active = pins.LayersOf(status.version);
  }
  for (const GuardLayer& layer : GuardLayers()) {
    GuardLayerStatus& entry =
        status.layers.emplace_back(GuardLayerStatus{layer.name, layer.meaning, false, ""});
    entry.active = std::ranges::find(active, layer.name) != active.end();
    if (entry.active) continue;
    if (const auto tried = LoadObject(layer, nullptr); !tried.has_value()) {
      entry.why = tried.error().Message();
    } else {
      entry.why = status.version.empty() ? "the guard is not loaded"
                  : layer.on_demand      ? "only while `hmvm guard status --exits` looks"
                                         : "it could be: `hmvm guard load`";
    }
  }
  status.machines = GuardedMachines(pins);
  return status;
}

std::vector<GuardVmStatus> GuardedMachines(const GuardPins& pins) {
  std::vector<GuardVmStatus> machines;
  const auto maps = GuardMaps::Open(pins);
  if (!maps.has_value()) return machines;
  auto vm = std::make_unique<guard_vm>();
  for (const uint64_t cgroup : KeysOf(maps->vms)) {
    if (::bpf_map_lookup_elem(maps->vms.get(), &cgroup, vm.get()) == 0) {
      machines.push_back(StatusOf(cgroup, *vm));
    }
  }
  return machines;
}

Result<GuardVmStatus> StatusOfGuardedVm(uint64_t cgroup, const GuardPins& pins) {
  HMVM_TRY_ASSIGN(const UniqueFd vms, OpenPin(pins.Map("vms")));
  auto vm = std::make_unique<guard_vm>();
  if (::bpf_map_lookup_elem(vms.get(), &cgroup, vm.get()) < 0) {
    return Error{errno, "the guard's entry of cgroup " + std::to_string(cgroup)};
  }
  return StatusOf(cgroup, *vm);
}

std::vector<GuardLayerStatus> ProbeGuard() {
  std::vector<GuardLayerStatus> layers;
  for (const GuardLayer& layer : GuardLayers()) {
    const auto tried = LoadObject(layer, nullptr);
    layers.push_back(
        {layer.name, layer.meaning, tried.has_value(), tried.has_value() ? "" : tried.error().Message()});
  }
  return layers;
}

Result<uint64_t> ExitsSeenBy(const std::string& name, const std::function<void()>& run) {
  HMVM_TRY_ASSIGN(const uint64_t cgroup, CgroupIdOfProcess(::getpid()));
  for (const GuardLayer& layer : GuardLayers()) {
    if (layer.name != name) continue;
    // In maps of its own, where nobody is policed.
    HMVM_TRY_ASSIGN(const Object object, LoadObject(layer, nullptr));
    const int vms = ::bpf_map__fd(::bpf_object__find_map_by_name(object.get(), "vms"));
    auto vm = std::make_unique<guard_vm>();
    if (::bpf_map_update_elem(vms, &cgroup, vm.get(), BPF_ANY) < 0) return Error{errno, "count exits"};
    std::vector<Link> links;
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object.get()) {
      HMVM_TRY_ASSIGN(Link link, Attach(layer.name, program, -1));
      links.push_back(std::move(link));
    }
    run();
    if (::bpf_map_lookup_elem(vms, &cgroup, vm.get()) < 0) return Error{errno, "count exits"};
    return std::accumulate(std::begin(vm->reasons), std::end(vm->reasons), vm->exits);
  }
  return Error{ENOENT, "layer '" + name + "'"};
}

Result<std::vector<UniqueFd>> AttachOnDemand(const std::string& name, const GuardPins& pins) {
  std::vector<UniqueFd> links;
  for (const GuardLayer& layer : GuardLayers()) {
    if (layer.name != name) continue;
    HMVM_TRY(GuardMaps::Open(pins));
    HMVM_TRY_ASSIGN(const Object object, LoadObject(layer, &pins));
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object.get()) {
      HMVM_TRY_ASSIGN(const Link link, Attach(layer.name, program, -1));
      HMVM_TRY_ASSIGN(UniqueFd held, Duplicate(::bpf_link__fd(link.get())));
      links.push_back(std::move(held));
    }
  }
  return links;
}

void SweepGuardRings(const GuardPins& pins, size_t most) {
  const auto maps = GuardMaps::Open(pins);
  if (!maps.has_value()) return;
  auto vm = std::make_unique<guard_vm>();
  for (const uint64_t cgroup : KeysOf(maps->rings)) {
    // A machine's entry is there before its ring.
    if (::bpf_map_lookup_elem(maps->vms.get(), &cgroup, vm.get()) == 0) continue;
    if (most-- == 0) return;
    ::bpf_map_delete_elem(maps->rings.get(), &cgroup);
  }
}

}  // namespace hmvm

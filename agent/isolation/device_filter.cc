#include "agent/isolation/device_filter.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"

namespace kata::isolation {
namespace {

using Exception = DeviceAccess::Exception;

constexpr uint32_t kAllAccess = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
constexpr size_t kMaxExceptions = 4096;
constexpr uint32_t kUnixMajors = 1 << 12;
constexpr uint32_t kUnixMinors = 1 << 20;

// Registers of the program.
constexpr uint8_t kContext = BPF_REG_1;  // and scratch, when it has been read
constexpr uint8_t kType = BPF_REG_2;
constexpr uint8_t kAccess = BPF_REG_3;
constexpr uint8_t kMajor = BPF_REG_4;
constexpr uint8_t kMinor = BPF_REG_5;

bpf_insn instruction(uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t value) {
  bpf_insn out{};
  out.code = code;
  out.dst_reg = to;
  out.src_reg = from;
  out.off = offset;
  out.imm = value;
  return out;
}

bpf_insn load(uint8_t to, size_t offset) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W, to, kContext, static_cast<int16_t>(offset), 0);
}
bpf_insn calculate(uint8_t operation, uint8_t to, uint32_t value) {
  return instruction(BPF_ALU | BPF_K | operation, to, 0, 0, static_cast<int32_t>(value));
}
bpf_insn copy(uint8_t to, uint8_t from) {
  return instruction(BPF_ALU | BPF_X | BPF_MOV, to, from, 0, 0);
}
/// The offset is put in when the end of the exception is known.
bpf_insn skip_if(uint8_t condition, uint8_t left, uint32_t value) {
  return instruction(BPF_JMP32 | BPF_K | condition, left, 0, 0, static_cast<int32_t>(value));
}
bpf_insn skip_if_not_equal(uint8_t left, uint8_t right) {
  return instruction(BPF_JMP32 | BPF_X | BPF_JNE, left, right, 0, 0);
}

void add_answer(std::vector<bpf_insn>& program, bool allowed) {
  program.push_back(calculate(BPF_MOV, BPF_REG_0, allowed ? 1 : 0));
  program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

/// Answers what is excepted; goes on behind itself otherwise.
void add_exception(std::vector<bpf_insn>& program, const Exception& exception, bool allowed) {
  const size_t begin = program.size();
  program.push_back(
      skip_if(BPF_JNE, kType, exception.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR));
  if (exception.access != kAllAccess) {
    program.push_back(copy(BPF_REG_1, kAccess));
    program.push_back(calculate(BPF_AND, BPF_REG_1, exception.access));
    // An exception allows what it has all of, and refuses what it has any of.
    program.push_back(allowed ? skip_if_not_equal(BPF_REG_1, kAccess)
                              : skip_if(BPF_JEQ, BPF_REG_1, 0));
  }
  if (exception.major) program.push_back(skip_if(BPF_JNE, kMajor, *exception.major));
  if (exception.minor) program.push_back(skip_if(BPF_JNE, kMinor, *exception.minor));
  add_answer(program, allowed);
  for (size_t at = begin; at < program.size(); ++at) {
    const uint8_t code = program[at].code;
    if (BPF_CLASS(code) == BPF_JMP32)
      program[at].off = static_cast<int16_t>(program.size() - at - 1);
  }
}

std::vector<bpf_insn> assemble(const DeviceAccess& access) {
  std::vector<bpf_insn> program = {
      load(kType, offsetof(bpf_cgroup_dev_ctx, access_type)),
      copy(kAccess, kType),
      calculate(BPF_AND, kType, 0xffff),
      calculate(BPF_RSH, kAccess, 16),
      load(kMajor, offsetof(bpf_cgroup_dev_ctx, major)),
      load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  for (const Exception& exception : access.exceptions)
    add_exception(program, exception, !access.allowed);
  add_answer(program, access.allowed);
  return program;
}

Result<UniqueFd> load_program(const std::vector<bpf_insn>& program) {
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<uint64_t>(program.data());
  attributes.insn_cnt = static_cast<uint32_t>(program.size());
  attributes.license = reinterpret_cast<uint64_t>("Apache-2.0");
  UniqueFd loaded(
      static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes)));
  if (loaded) return loaded;
  if (errno == ENOSYS || errno == EINVAL)
    return fail(Code::kFailedPrecondition,
                "linux.resources.devices: the guest's kernel takes no filter of devices "
                "(CONFIG_CGROUP_BPF)");
  return fail_call("load a filter of devices");
}

Result<std::optional<uint32_t>> number_of(const std::optional<int64_t>& wanted, uint32_t end) {
  if (!wanted || *wanted == -1) return std::optional<uint32_t>();
  if (*wanted < 0 || *wanted >= end)
    return fail(Code::kInvalidArgument, "linux.resources.devices: no device has the number {}",
                *wanted);
  return std::optional<uint32_t>(static_cast<uint32_t>(*wanted));
}

uint32_t access_of(const std::string& words) {
  uint32_t access = 0;
  for (const char word : words) {
    if (word == 'r') access |= BPF_DEVCG_ACC_READ;
    if (word == 'w') access |= BPF_DEVCG_ACC_WRITE;
    if (word == 'm') access |= BPF_DEVCG_ACC_MKNOD;
  }
  return access;
}

void apply_rule(DeviceAccess& access, Exception rule, bool allow) {
  const auto same = std::ranges::find_if(access.exceptions, [&](const Exception& other) {
    return other.type == rule.type && other.major == rule.major && other.minor == rule.minor;
  });
  if (allow != access.allowed) {
    if (same == access.exceptions.end())
      access.exceptions.push_back(rule);
    else
      same->access |= rule.access;
  } else if (same != access.exceptions.end()) {
    same->access &= ~rule.access;
    if (same->access == 0) access.exceptions.erase(same);
  }
}

void allow_defaults(DeviceAccess& access) {
  constexpr uint32_t kMake = BPF_DEVCG_ACC_MKNOD;
  const Exception defaults[] = {
      {'c', {}, {}, kMake},    {'b', {}, {}, kMake},       {'c', 1, 3, kAllAccess},
      {'c', 1, 8, kAllAccess}, {'c', 1, 7, kAllAccess},    {'c', 5, 0, kAllAccess},
      {'c', 1, 5, kAllAccess}, {'c', 1, 9, kAllAccess},    {'c', 136, {}, kAllAccess},
      {'c', 5, 2, kAllAccess}, {'c', 10, 200, kAllAccess},
  };
  for (const Exception& one : defaults) apply_rule(access, one, true);
}

}  // namespace

Result<DeviceAccess> device_access(const std::vector<oci::DeviceRule>& rules) {
  DeviceAccess access;
  for (const oci::DeviceRule& rule : rules) {
    if (rule.type.empty() || rule.type == "a") {
      // For all devices: what was said before no longer matters.
      access.allowed = rule.allow;
      access.exceptions.clear();
      continue;
    }
    Exception exception;
    exception.type = rule.type.front();
    KATA_TRY(exception.major, number_of(rule.major, kUnixMajors));
    KATA_TRY(exception.minor, number_of(rule.minor, kUnixMinors));
    exception.access = access_of(rule.access);
    if (exception.access != 0) apply_rule(access, exception, rule.allow);
    // Each is compared with all before it.
    if (access.exceptions.size() > kMaxExceptions)
      return fail(Code::kInvalidArgument, "linux.resources.devices: rules for more than {} devices",
                  kMaxExceptions);
  }
  allow_defaults(access);
  return access;
}

Status DeviceFilter::apply(const DeviceAccess& access, int cgroup) {
  KATA_TRY(UniqueFd program, load_program(assemble(access)));
  std::lock_guard lock(mutex_);
  bpf_attr attributes{};
  attributes.target_fd = static_cast<uint32_t>(cgroup);
  attributes.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attributes.attach_type = BPF_CGROUP_DEVICE;
  // The container's groups below may add filters, but not take this one away.
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  if (program_) {
    attributes.attach_flags |= BPF_F_REPLACE;
    attributes.replace_bpf_fd = static_cast<uint32_t>(program_.get());
  }
  if (::syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes) < 0)
    return fail_call("attach a filter of devices");
  program_ = std::move(program);
  return {};
}

}  // namespace kata::isolation

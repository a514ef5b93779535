#include "agent/isolation/seccomp.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/base/unique_fd.h"

namespace kata::isolation {
namespace {

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

/// On x86-64, set in the number of a call of the x32 ABI.
constexpr uint32_t kX32Bit = 0x40000000;
constexpr uint32_t kMaxErrno = 4095;

template <typename T, size_t N>
using Words = std::array<std::pair<std::string_view, T>, N>;

constexpr Words<scmp_compare, 7> kOperators = {{{"SCMP_CMP_NE", SCMP_CMP_NE},
                                                {"SCMP_CMP_LT", SCMP_CMP_LT},
                                                {"SCMP_CMP_LE", SCMP_CMP_LE},
                                                {"SCMP_CMP_EQ", SCMP_CMP_EQ},
                                                {"SCMP_CMP_GE", SCMP_CMP_GE},
                                                {"SCMP_CMP_GT", SCMP_CMP_GT},
                                                {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}}};

constexpr Words<uint32_t, 4> kFlags = {
    {{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
     {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
     {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
     // For SCMP_ACT_NOTIFY alone.
     {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 0}}};

template <typename T, size_t N>
Result<T> find(const Words<T, N>& words, std::string_view word) {
  const auto found = std::ranges::find(words, word, &std::pair<std::string_view, T>::first);
  if (found == words.end()) return fail(Code::kInvalidArgument, "linux.seccomp: {}", word);
  return found->second;
}

Result<uint32_t> action_of(const std::string& name, std::optional<uint32_t> errno_ret) {
  const uint32_t data = std::min<uint32_t>(errno_ret.value_or(EPERM), kMaxErrno);
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return SCMP_ACT_KILL_THREAD;
  if (name == "SCMP_ACT_KILL_PROCESS") return SCMP_ACT_KILL_PROCESS;
  if (name == "SCMP_ACT_TRAP") return SCMP_ACT_TRAP;
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(data);
  if (name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(data);
  if (name == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  if (name == "SCMP_ACT_LOG") return SCMP_ACT_LOG;
  if (name == "SCMP_ACT_NOTIFY")
    return fail(Code::kUnimplemented,
                "linux.seccomp: SCMP_ACT_NOTIFY is not supported: who listens at listenerPath is a "
                "process of the host, and cannot answer calls to the guest's kernel. Give these "
                "calls another action, or run the container with a runtime that needs no VM");
  return fail(Code::kInvalidArgument, "linux.seccomp: {}", name);
}

Status check(int result, std::string_view what) {
  if (result == 0) return {};
  return fail_errno(fmt::format("linux.seccomp: {}", what), -result);
}

Status add_architectures(scmp_filter_ctx filter, const oci::Seccomp& seccomp) {
  constexpr std::string_view kPrefix = "SCMP_ARCH_";
  for (const std::string& name : seccomp.architectures) {
    std::string short_name = name.substr(std::min(kPrefix.size(), name.size()));
    std::ranges::transform(short_name, short_name.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
    const uint32_t token = seccomp_arch_resolve_name(short_name.c_str());
    if (token == 0)
      return fail(Code::kInvalidArgument, "linux.seccomp.architectures: {} is unknown here", name);
    const int added = seccomp_arch_add(filter, token);
    if (added != -EEXIST) KATA_CHECK(check(added, name));
  }
  return {};
}

Result<scmp_arg_cmp> comparison(const oci::SeccompArg& arg) {
  KATA_TRY(const scmp_compare op, find(kOperators, arg.op));
  return scmp_arg_cmp{arg.index, op, arg.value, arg.value_two};
}

/// Conditions on several arguments have to hold together; several on one argument are alternatives.
Result<std::vector<std::vector<scmp_arg_cmp>>> alternatives(const oci::SeccompRule& rule) {
  std::vector<scmp_arg_cmp> all;
  bool has_repeated = false;
  for (const auto& arg : rule.args) {
    has_repeated = has_repeated || std::ranges::any_of(all, [&](const scmp_arg_cmp& other) {
                     return other.arg == arg.index;
                   });
    KATA_TRY(all.emplace_back(), comparison(arg));
  }
  std::vector<std::vector<scmp_arg_cmp>> out;
  if (!has_repeated) {
    out.push_back(std::move(all));
    return out;
  }
  for (const auto& one : all) out.push_back({one});
  return out;
}

Status add_rules(scmp_filter_ctx filter, const oci::Seccomp& seccomp, uint32_t default_action) {
  for (const auto& rule : seccomp.syscalls) {
    KATA_TRY(const uint32_t action, action_of(rule.action, rule.errno_ret));
    if (action == default_action) continue;  // says nothing, and libseccomp refuses it
    KATA_TRY(const auto conditions, alternatives(rule));
    for (const std::string& name : rule.names) {
      const int number = seccomp_syscall_resolve_name(name.c_str());
      if (number == __NR_SCMP_ERROR) continue;
      for (const auto& together : conditions) {
        KATA_CHECK(
            check(seccomp_rule_add_array(filter, action, number,
                                         static_cast<unsigned>(together.size()), together.data()),
                  name));
      }
    }
  }
  return {};
}

Result<std::vector<sock_filter>> export_program(scmp_filter_ctx filter) {
  UniqueFd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return fail_call("memfd_create");
  KATA_CHECK(check(seccomp_export_bpf(filter, file.get()), "export"));
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  std::vector<sock_filter> program(static_cast<size_t>(size) / sizeof(sock_filter));
  if (::pread(file.get(), program.data(), static_cast<size_t>(size), 0) != size)
    return fail_call("read a seccomp filter");
  return program;
}

/// The newest call of this architecture that the filter has a word of; nullopt: none.
std::optional<uint32_t> newest_call(const oci::Seccomp& seccomp) {
  std::optional<uint32_t> newest;
  for (const auto& rule : seccomp.syscalls)
    for (const std::string& name : rule.names) {
      const int number = seccomp_syscall_resolve_name(name.c_str());
      if (number >= 0) newest = std::max(newest.value_or(0), static_cast<uint32_t>(number));
    }
  return newest;
}

bool refuses(const std::string& action) {
  return action != "SCMP_ACT_ALLOW" && action != "SCMP_ACT_LOG" && action != "SCMP_ACT_TRACE";
}

/// In front of `program`: native calls above `newest` are unknown, as in an older kernel.
void add_unknown_calls(std::vector<sock_filter>& program, uint32_t newest) {
  const sock_filter stub[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, newest, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
  program.insert(program.begin(), std::begin(stub), std::end(stub));
}

Result<uint32_t> flags_of(const oci::Seccomp& seccomp) {
  uint32_t flags = 0;
  for (const std::string& name : seccomp.flags) {
    KATA_TRY(const uint32_t flag, find(kFlags, name));
    flags |= flag;
  }
  // Of a process that has one thread.
  return flags & ~static_cast<uint32_t>(SECCOMP_FILTER_FLAG_TSYNC);
}

}  // namespace

Result<std::string> compile_filter(const oci::Seccomp& seccomp) {
  KATA_TRY(const uint32_t flags, flags_of(seccomp));
  KATA_TRY(const uint32_t default_action,
           action_of(seccomp.default_action, seccomp.default_errno_ret));
  const Filter filter(seccomp_init(default_action), &seccomp_release);
  if (!filter) return fail(Code::kInvalidArgument, "linux.seccomp: {}", seccomp.default_action);
  KATA_CHECK(add_architectures(filter.get(), seccomp));
  KATA_CHECK(add_rules(filter.get(), seccomp, default_action));
  KATA_TRY(std::vector<sock_filter> program, export_program(filter.get()));
  const auto newest = newest_call(seccomp);
  if (refuses(seccomp.default_action) && newest) add_unknown_calls(program, *newest);
  if (program.size() > std::numeric_limits<uint16_t>::max())
    return fail(Code::kInvalidArgument, "linux.seccomp: the filter has {} instructions",
                program.size());
  std::string bytes(sizeof flags + program.size() * sizeof(sock_filter), '\0');
  std::memcpy(bytes.data(), &flags, sizeof flags);
  std::memcpy(bytes.data() + sizeof flags, program.data(), program.size() * sizeof(sock_filter));
  return bytes;
}

Status install_filter(std::string_view filter) {
  uint32_t flags = 0;
  if (filter.size() < sizeof flags || (filter.size() - sizeof flags) % sizeof(sock_filter) != 0)
    return fail(Code::kInternal, "a seccomp filter is cut short");
  std::memcpy(&flags, filter.data(), sizeof flags);
  std::vector<sock_filter> program((filter.size() - sizeof flags) / sizeof(sock_filter));
  std::memcpy(program.data(), filter.data() + sizeof flags, filter.size() - sizeof flags);
  const sock_fprog described{static_cast<unsigned short>(program.size()), program.data()};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &described) < 0)
    return fail_call("error loading seccomp filter into kernel");
  return {};
}

}  // namespace kata::isolation

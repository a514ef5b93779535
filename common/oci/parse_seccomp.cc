#include <array>

#include "common/oci/readers.h"

namespace kata::oci {

namespace {

constexpr std::array<std::string_view, 9> kActions = {
    "SCMP_ACT_KILL",  "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",  "SCMP_ACT_ERRNO",        "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW", "SCMP_ACT_LOG",          "SCMP_ACT_NOTIFY"};
constexpr std::array<std::string_view, 7> kOperators = {
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",       "SCMP_CMP_EQ",
    "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"};
constexpr std::array<std::string_view, 4> kFlags = {
    "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
constexpr std::array<std::string_view, 23> kArchitectures = {
    "SCMP_ARCH_X86",     "SCMP_ARCH_X86_64",   "SCMP_ARCH_X32",         "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",      "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",   "SCMP_ARCH_PPC64LE",  "SCMP_ARCH_S390",        "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",  "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",     "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",    "SCMP_ARCH_SH",       "SCMP_ARCH_SHEB"};
constexpr uint32_t kMaxArgIndex = 5;

}  // namespace

static void read(JsonReader& in, SeccompArg& out) {
  in.required("index", out.index);
  in.required("value", out.value);
  in.optional("valueTwo", out.value_two);
  in.required_enum("op", out.op, kOperators);
  if (out.index > kMaxArgIndex) in.fail_at("index", "{} is above {}", out.index, kMaxArgIndex);
}

static void read(JsonReader& in, SeccompRule& out) {
  in.required("names", out.names);
  in.required_enum("action", out.action, kActions);
  in.optional("errnoRet", out.errno_ret);
  in.optional("args", out.args);
  if (!in.failed() && out.names.empty()) in.fail_at("names", "must not be empty");
}

void read(JsonReader& in, Seccomp& out) {
  in.required_enum("defaultAction", out.default_action, kActions);
  in.optional("defaultErrnoRet", out.default_errno_ret);
  in.optional_enums("architectures", out.architectures, kArchitectures);
  in.optional_enums("flags", out.flags, kFlags);
  in.optional("listenerPath", out.listener_path);
  in.optional("listenerMetadata", out.listener_metadata);
  in.optional("syscalls", out.syscalls);
}

}  // namespace kata::oci

// probe TOPIC [ARGUMENT]: one line "name value" for each thing that the kernel says of this process
// and that busybox has no command for. A system call that fails is a value, too: its error's name.
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "seccomp_agent.h"

namespace {

constexpr int kIoPriorityOfProcess = 1;  // IOPRIO_WHO_PROCESS, in no header of libc's

void print(const char* name, long value) {
  if (value < 0)
    std::printf("%s %s\n", name, strerrorname_np(errno));
  else
    std::printf("%s %ld\n", name, value);
}

/// For calls whose answer is a descriptor or a mask: only whether they work.
void print_success(const char* name, long value) { print(name, value < 0 ? value : 0); }

void print_prctl(const char*) {
  constexpr auto kOptions = std::to_array<std::pair<const char*, int>>({
      {"dumpable", PR_GET_DUMPABLE},
      {"keepcaps", PR_GET_KEEPCAPS},
      {"seccomp", PR_GET_SECCOMP},
      {"securebits", PR_GET_SECUREBITS},
      {"no_new_privs", PR_GET_NO_NEW_PRIVS},
      {"thp_disable", PR_GET_THP_DISABLE},
      {"timerslack", PR_GET_TIMERSLACK},
  });
  for (const auto& [name, option] : kOptions) print(name, prctl(option, 0, 0, 0, 0));
  int value = -1;
  prctl(PR_GET_PDEATHSIG, &value, 0, 0, 0);
  print("pdeathsig", value);
  prctl(PR_GET_CHILD_SUBREAPER, &value, 0, 0, 0);
  print("subreaper", value);
}

/// struct sched_attr of sched_getattr(2), in no header of libc's.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

void print_deadline(const SchedulingAttributes& attributes) {
  print("runtime", static_cast<long>(attributes.runtime_ns));
  print("deadline", static_cast<long>(attributes.deadline_ns));
  print("period", static_cast<long>(attributes.period_ns));
}

void print_scheduling(const char*) {
  SchedulingAttributes attributes;
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) < 0)
    return print("scheduling", -1);
  print("policy", attributes.policy);
  print("priority", attributes.priority);
  std::printf("nice %d\n", getpriority(PRIO_PROCESS, 0));
  print("flags", static_cast<long>(attributes.flags));
  // Newer kernels say of others how long their turn is.
  if (attributes.policy == SCHED_DEADLINE) print_deadline(attributes);
  print("io", syscall(SYS_ioprio_get, kIoPriorityOfProcess, 0));
}

void print_personality(const char*) { print("personality", personality(0xffffffff)); }

void print_affinity(const char*) {
  cpu_set_t set;
  print("affinity", sched_getaffinity(0, sizeof set, &set) < 0 ? -1 : CPU_COUNT(&set));
}

void print_keyring(const char*) {
  std::array<char, 256> text{};
  const long size =
      syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text.data(), text.size() - 1);
  if (size < 0) return print("session", size);
  std::printf("session %s\n", text.data());  // type;uid;gid;permissions;name
}

void try_unshare(const char*) {
  constexpr auto kNamespaces = std::to_array<std::pair<const char*, int>>({
      {"mount", CLONE_NEWNS},
      {"net", CLONE_NEWNET},
      {"pid", CLONE_NEWPID},
      {"uts", CLONE_NEWUTS},
      {"user", CLONE_NEWUSER},  // the last: the others are allowed in it
  });
  for (const auto& [name, flag] : kNamespaces) print(name, unshare(flag));
}

/// Harmless wherever they are allowed: their arguments name nothing that is there. None whose first
/// error depends on how the kernel is configured.
void try_calls(const char*) {
  const auto none = static_cast<char*>(nullptr);
  print_success("add_key", syscall(SYS_add_key, "user", "probe", "x", 1, KEY_SPEC_PROCESS_KEYRING));
  print_success("mount", syscall(SYS_mount, none, "/none", none, 0, none));
  print_success("umount", syscall(SYS_umount2, "/none", 0));
  print_success("pivot_root", syscall(SYS_pivot_root, "/none", "/none"));
  print_success("swapoff", syscall(SYS_swapoff, "/none"));
  print_success("chroot", syscall(SYS_chroot, "/none"));
  print_success("setns", syscall(SYS_setns, -1, 0));
  print_success("ptrace", syscall(SYS_ptrace, PTRACE_ATTACH, 0x3fffffff, none, none));
}

void try_sockets(const char*) {
  print_success("raw", socket(AF_INET, SOCK_RAW, 1));
  print_success("packet", socket(AF_PACKET, SOCK_RAW, 0));
  print_success("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
  print_success("unix", socket(AF_UNIX, SOCK_STREAM, 0));
}

void try_priorities(const char*) {
  print("nice", setpriority(PRIO_PROCESS, 0, -5));
  sched_param parameters{};
  parameters.sched_priority = 1;
  print("fifo", sched_setscheduler(0, SCHED_FIFO, &parameters));
}

void try_open(const char* path) {
  print_success("read", open(path, O_RDONLY | O_NONBLOCK));
  print_success("write", open(path, O_WRONLY | O_NONBLOCK));
}

void print_mount_flags(const char* path) {
  struct statvfs info {};
  if (statvfs(path, &info) < 0) return print("flags", -1);
  std::printf("flags %#lx\n", info.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC |
                                             ST_NOATIME | ST_NODIRATIME | ST_SYNCHRONOUS));
}

/// How long the clock runs ahead of the kernel's own idea of the time since the boot.
void print_clocks(const char*) {
  timespec boot{};
  timespec monotonic{};
  clock_gettime(CLOCK_BOOTTIME, &boot);
  clock_gettime(CLOCK_MONOTONIC, &monotonic);
  std::printf("boottime-more-than-year %d\nmonotonic-more-than-year %d\n", boot.tv_sec > 31536000,
              monotonic.tv_sec > 31536000);
}

struct Topic {
  std::string_view name;
  void (*show)(const char* argument);
};
constexpr auto kTopics = std::to_array<Topic>({
    {"prctl", print_prctl},
    {"scheduling", print_scheduling},
    {"personality", print_personality},
    {"affinity", print_affinity},
    {"keyring", print_keyring},
    {"unshare", try_unshare},
    {"calls", try_calls},
    {"sockets", try_sockets},
    {"priorities", try_priorities},
    {"open", try_open},
    {"mount-flags", print_mount_flags},
    {"clocks", print_clocks},
    {"seccomp-agent", start_seccomp_agent},
});

}  // namespace

int main(int argc, char** argv) {
  for (const auto& topic : kTopics)
    if (argc > 1 && topic.name == argv[1]) {
      topic.show(argc > 2 ? argv[2] : "/");
      return EXIT_SUCCESS;
    }
  std::fprintf(stderr, "probe: no such topic\n");
  return EXIT_FAILURE;
}

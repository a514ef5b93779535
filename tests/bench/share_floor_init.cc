// PID 1 of the floor of what runs in a container: mounts the virtiofs share of that tag, makes its
// root/ the root with data/ at /data, as a container has them; or the first disk, where the first
// word after "--" on the kernel's command line is "disk". Then it runs the command that follows
// there, with its output in /data/floor-output, and says when the command has ended well.

#include <sys/mount.h>

#include "tests/bench/freestanding.h"
#include "tests/bench/guest_modules.h"

namespace {

using kata::bench::address_of;
using kata::bench::print;
using kata::bench::system_call;

constexpr long kOpen = 2;
constexpr long kDup2 = 33;
constexpr long kFork = 57;
constexpr long kExecve = 59;
constexpr long kExit = 60;
constexpr long kWait4 = 61;
constexpr long kChdir = 80;
constexpr long kMkdir = 83;
constexpr long kChroot = 161;
constexpr long kSync = 162;
constexpr long kMount = 165;

// fcntl.h has them in octal too, but comes with declarations of a C library.
constexpr long kWriteOnly = 01;
constexpr long kCreate = 0100;
constexpr long kTruncate = 01000;

const char* const environment[] = {"PATH=/usr/bin:/bin", nullptr};

long mount(const char* source, const char* target, const char* type, long flags = 0) {
  return system_call(kMount, address_of(source), address_of(target), address_of(type), flags, 0);
}

bool mount_share() {
  return mount("share", "/share", "virtiofs") == 0 &&
         mount("/share/data", "/share/root/data", "", MS_BIND) == 0;
}

// The image is that of root/ alone.
bool mount_disk() {
  kata::bench::load_modules("/etc/kata/modules.d/virtio_blk");
  kata::bench::load_modules("/etc/kata/modules.d/ext4");
  return system_call(kMkdir, address_of("/share/root"), 0755) == 0 &&
         mount("devtmpfs", "/dev", "devtmpfs") == 0 &&
         mount("/dev/vda", "/share/root", "ext4") == 0;
}

// What a container has too.
bool make_root(bool on_disk) {
  if (system_call(kMkdir, address_of("/share"), 0755) != 0) return false;
  if (!(on_disk ? mount_disk() : mount_share())) return false;
  return mount("proc", "/share/root/proc", "proc") == 0 &&
         mount("sysfs", "/share/root/sys", "sysfs") == 0 &&
         mount("devtmpfs", "/share/root/dev", "devtmpfs") == 0 &&
         mount("tmpfs", "/share/root/tmp", "tmpfs") == 0 &&
         system_call(kChroot, address_of("/share/root")) == 0 &&
         system_call(kChdir, address_of("/")) == 0;
}

bool is(const char* word, const char* wanted) {
  while (*word != '\0' && *word == *wanted) ++word, ++wanted;
  return *word == *wanted;
}

[[noreturn]] void become(char** command) {
  constexpr const char* kOutput = "/data/floor-output";
  const long output =
      system_call(kOpen, address_of(kOutput), kWriteOnly | kCreate | kTruncate, 0644);
  system_call(kDup2, output, 1);
  system_call(kDup2, output, 2);
  system_call(kExecve, address_of(command[0]), address_of(command), address_of(environment));
  while (true) system_call(kExit, 127);
}

bool run(char** command) {
  const long child = system_call(kFork, 0);
  if (child == 0) become(command);
  int status = -1;
  const bool ended = system_call(kWait4, child, address_of(&status), 0, 0) == child;
  system_call(kSync, 0);
  return ended && status == 0;
}

}  // namespace

/// stack: argc, then argv, as the kernel leaves them.
extern "C" [[noreturn]] void begin(long* stack) {
  kata::bench::load_modules("/etc/kata/modules");
  auto** arguments = reinterpret_cast<char**>(stack + 1) + 1;
  const bool on_disk = is(arguments[0], "disk");
  if (on_disk) ++arguments;
  if (!make_root(on_disk)) {
    print("no root\n");
  } else if (run(arguments)) {
    print("the command has ended well\n");
  } else {
    print("the command has failed\n");
  }
  kata::bench::power_off();
}

asm(".globl _start\n"
    "_start:\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    "  call begin\n");

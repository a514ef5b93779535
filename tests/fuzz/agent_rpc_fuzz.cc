// The agent's calls, each with any request, in any order: the handlers, the sandbox, containers,
// processes, streams and control groups are the real ones, against a real kernel; see jail.h for
// what keeps them from the host, and fake_init.cc for where they end.
#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/sandbox/reaper.h"
#include "common/log/log.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/jail.h"
#include "tests/fuzz/mutation.h"
#include "tests/fuzz/session.h"

using namespace kata::fuzz;

/// Filters of devices need rights over the host's kernel. The program has been made, and the agent
/// goes on as if it were loaded and attached.
extern "C" long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
extern "C" long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  if (number != SYS_bpf) return __real_syscall(number, a, b, c, d, e, f);
  return a == BPF_PROG_LOAD ? ::open("/dev/null", O_RDONLY | O_CLOEXEC) : 0;
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  static const int no_log = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (auto jailed = enter_jail(); !jailed) {
    std::fprintf(stderr, "agent-rpc-fuzz: %s\n", jailed.error().message().c_str());
    std::exit(1);
  }
  kata::log::set_output(no_log);
  // Before libFuzzer's first thread: it would take the reaper's signals.
  expect(kata::sandbox::Reaper::block_signals().has_value(), "block SIGCHLD");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World world;
  Session steps;
  if (!steps.ParseFromArray(data, static_cast<int>(size))) return -1;
  world.run(steps);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  Random random(seed);
  return put_result(mutate_message(as_text(data, size), random), data, max_size);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* data, size_t size, const uint8_t* other,
                                            size_t other_size, uint8_t* out, size_t max_size,
                                            unsigned int seed) {
  Random random(seed);
  return put_result(cross_message(as_text(data, size), as_text(other, other_size), random), out,
                    max_size);
}

// PID 1 of the benchmark's floor: says that the kernel has come this far and switches the machine
// off.

#include "tests/bench/freestanding.h"

extern "C" [[noreturn]] void _start() {
  kata::bench::print("PID 1\n");
  kata::bench::power_off();
}

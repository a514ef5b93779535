#include "tests/bench/guest_modules.h"

#include "tests/bench/freestanding.h"

namespace kata::bench {
namespace {

constexpr long kRead = 0;
constexpr long kOpen = 2;
constexpr long kClose = 3;
constexpr long kFinitModule = 313;

char module_list[4096];

void load(const char* path) {
  const long file = system_call(kOpen, address_of(path));
  system_call(kFinitModule, file, address_of(""), 0);
  system_call(kClose, file);
}

}  // namespace

void load_modules(const char* list) {
  const long file = system_call(kOpen, address_of(list));
  const long size = system_call(kRead, file, address_of(module_list), sizeof module_list - 1);
  char* path = module_list;
  for (char* next = module_list; next < module_list + size; ++next) {
    if (*next != '\n') continue;
    *next = '\0';
    load(path);
    path = next + 1;
  }
}

}  // namespace kata::bench

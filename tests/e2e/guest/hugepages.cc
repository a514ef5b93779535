// hugepages FILE MIB TEXT: makes a file of huge pages (hugetlbfs), touches all of it, writes TEXT
// to its beginning and says how large a page of it is.
// hugepages FILE: says what the beginning of the file is.
// hugepages MIB: the same as the first, with memory that is no file's (MAP_HUGETLB).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr size_t kMib = size_t{1} << 20;
constexpr size_t kStep = 4096;  // no page is smaller

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

char* map(int file, int flags, size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
  if (memory == MAP_FAILED) fail("mmap");
  return static_cast<char*>(memory);
}

/// As the kernel knows it (proc(5), smaps).
void show_page_size(const char* memory) {
  std::FILE* maps = std::fopen("/proc/self/smaps", "re");
  if (maps == nullptr) fail("smaps");
  constexpr const char* kKey = "KernelPageSize:";
  char line[4096];
  bool is_ours = false;
  unsigned long kib = 0;
  while (kib == 0 && std::fgets(line, sizeof line, maps) != nullptr) {
    // "7f0000000000-7f0000200000 rw-s …", then a line for each key.
    char* end = nullptr;
    const unsigned long begin = std::strtoul(line, &end, 16);
    if (*end == '-') is_ours = begin == reinterpret_cast<uintptr_t>(memory);
    if (is_ours && std::strncmp(line, kKey, std::strlen(kKey)) == 0)
      kib = std::strtoul(line + std::strlen(kKey), nullptr, 10);
  }
  std::fclose(maps);
  std::printf("%lu KiB\n", kib);
}

void touch(char* memory, size_t bytes) {
  for (size_t at = 0; at < bytes; at += kStep) memory[at] = 1;
  show_page_size(memory);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && argv[1][0] != '/') {
    const size_t bytes = std::strtoul(argv[1], nullptr, 10) * kMib;
    touch(map(-1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, bytes), bytes);
    return 0;
  }
  if (argc != 2 && argc != 4) return 2;
  const int file = open(argv[1], O_RDWR | O_CLOEXEC | (argc == 4 ? O_CREAT : 0), 0666);
  if (file < 0) fail(argv[1]);
  if (argc == 2) {
    struct stat info {};
    if (fstat(file, &info) != 0) fail("fstat");
    std::puts(map(file, MAP_SHARED, static_cast<size_t>(info.st_size)));
    return 0;
  }
  const size_t bytes = std::strtoul(argv[2], nullptr, 10) * kMib;
  if (ftruncate(file, static_cast<off_t>(bytes)) != 0) fail("ftruncate");
  char* memory = map(file, MAP_SHARED, bytes);
  touch(memory, bytes);
  std::snprintf(memory, bytes, "%s", argv[3]);
}

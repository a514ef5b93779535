// The loops of `tools/bench all` that run in a container, each answering by one JSON object:
//
//   guest-loops cpu ITERATIONS         {"cpu": ms}
//   guest-loops syscalls COUNT         {"getpid": ns, "pread": ns} each
//   guest-loops tree DIRECTORY FILES   {"create": ms, "stat": ms, "read": ms, "delete": ms}

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr long kFilesPerDirectory = 100;
constexpr size_t kFileBytes = 4096;

[[noreturn]] void give_up(const std::string& what) {
  std::perror(what.c_str());
  std::exit(1);
}

template <typename Body>
double milliseconds(Body body) {
  const auto began = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began)
      .count();
}

/// xorshift64: no memory, no branch that is not the loop's.
void cpu(long iterations) {
  uint64_t state = 88172645463325252u;
  const double took_ms = milliseconds([&] {
    for (long i = 0; i < iterations; ++i) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
    }
  });
  if (state == 0) std::abort();  // It never is; without a use there would be no loop.
  std::printf("{\"cpu\": %.3f}\n", took_ms);
}

void syscalls(long count) {
  char byte;
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (file < 0 || pread(file, &byte, 1, 0) != 1) give_up("/proc/self/exe");
  const double getpid_ms = milliseconds([&] {
    for (long i = 0; i < count; ++i) syscall(SYS_getpid);
  });
  const double pread_ms = milliseconds([&] {
    for (long i = 0; i < count; ++i)
      if (pread(file, &byte, 1, 0) != 1) give_up("pread");
  });
  const double to_ns = 1e6 / static_cast<double>(count);
  std::printf("{\"getpid\": %.1f, \"pread\": %.1f}\n", getpid_ms * to_ns, pread_ms * to_ns);
}

class Tree {
 public:
  Tree(std::string root, long files) : root_(std::move(root)), files_(files) {}

  void create() const {
    make_directory(root_);
    for (long i = 0; i < files_; i += kFilesPerDirectory) make_directory(directory_of(i));
    const std::array<char, kFileBytes> content{};
    for (long i = 0; i < files_; ++i) {
      const int file = open(path_of(i).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      if (file < 0 || write(file, content.data(), content.size()) != long{kFileBytes})
        give_up(path_of(i));
      close(file);
    }
  }

  void stat_all() const {
    for (long i = 0; i < files_; ++i) {
      struct stat info {};
      if (::stat(path_of(i).c_str(), &info) != 0 || info.st_size != long{kFileBytes})
        give_up(path_of(i));
    }
  }

  void read_all() const {
    std::array<char, kFileBytes> content;
    for (long i = 0; i < files_; ++i) {
      const int file = open(path_of(i).c_str(), O_RDONLY | O_CLOEXEC);
      if (file < 0 || read(file, content.data(), content.size()) != long{kFileBytes})
        give_up(path_of(i));
      close(file);
    }
  }

  void delete_all() const {
    for (long i = 0; i < files_; ++i)
      if (unlink(path_of(i).c_str()) != 0) give_up(path_of(i));
    for (long i = 0; i < files_; i += kFilesPerDirectory)
      if (rmdir(directory_of(i).c_str()) != 0) give_up(directory_of(i));
    if (rmdir(root_.c_str()) != 0) give_up(root_);
  }

 private:
  static void make_directory(const std::string& path) {
    if (mkdir(path.c_str(), 0755) != 0) give_up(path);
  }
  std::string directory_of(long file) const {
    return root_ + "/" + std::to_string(file / kFilesPerDirectory);
  }
  std::string path_of(long file) const {
    return directory_of(file) + "/" + std::to_string(file % kFilesPerDirectory);
  }

  std::string root_;
  long files_;
};

void tree(const char* directory, long files) {
  const Tree tree(directory, files);
  const double create_ms = milliseconds([&] { tree.create(); });
  const double stat_ms = milliseconds([&] { tree.stat_all(); });
  const double read_ms = milliseconds([&] { tree.read_all(); });
  const double delete_ms = milliseconds([&] { tree.delete_all(); });
  std::printf("{\"create\": %.3f, \"stat\": %.3f, \"read\": %.3f, \"delete\": %.3f}\n", create_ms,
              stat_ms, read_ms, delete_ms);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view loop = argc > 1 ? argv[1] : "";
  const long count = argc > 2 ? std::atol(argv[argc - 1]) : 0;
  if (loop == "cpu" && argc == 3 && count > 0) {
    cpu(count);
  } else if (loop == "syscalls" && argc == 3 && count > 0) {
    syscalls(count);
  } else if (loop == "tree" && argc == 4 && count > 0) {
    tree(argv[2], count);
  } else {
    std::fputs("usage: guest-loops cpu N | syscalls N | tree DIRECTORY N\n", stderr);
    return 2;
  }
  return 0;
}

// lock FILE: takes flock(2) and fcntl(2) locks of a file, without waiting, says "held" or "busy"
// for each, and keeps them until its stdin ends.
#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace {

bool report(bool held) {
  if (!held && errno != EWOULDBLOCK && errno != EAGAIN && errno != EACCES) return false;
  std::puts(held ? "held" : "busy");
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const int file = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  struct flock range {};
  range.l_type = F_WRLCK;
  if (file < 0 || !report(flock(file, LOCK_EX | LOCK_NB) == 0) ||
      !report(fcntl(file, F_SETLK, &range) == 0)) {
    std::perror(argv[1]);
    return 1;
  }
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}

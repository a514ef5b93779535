// inotify COUNT PATH…: watches directories and files, says "ready", and then what happens to them,
// a line "PATH EVENT [NAME]" for each of COUNT events (inotify(7)).
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>

#include <sys/inotify.h>
#include <unistd.h>

namespace {

struct Event {
  uint32_t bit;
  const char* name;
};
constexpr std::array kEvents = {Event{IN_CREATE, "create"},       Event{IN_DELETE, "delete"},
                                Event{IN_CLOSE_WRITE, "written"}, Event{IN_MOVED_FROM, "from"},
                                Event{IN_MOVED_TO, "to"},         Event{IN_ATTRIB, "attributes"},
                                Event{IN_DELETE_SELF, "gone"}};

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int fd = inotify_init1(IN_CLOEXEC);
  if (fd < 0) fail("inotify_init1");
  uint32_t mask = 0;
  for (const Event& event : kEvents) mask |= event.bit;
  std::map<int, const char*> paths;
  for (int i = 2; i < argc; ++i) {
    const int watch = inotify_add_watch(fd, argv[i], mask);
    if (watch < 0) fail(argv[i]);
    paths[watch] = argv[i];
  }
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  std::puts("ready");
  int left = std::atoi(argv[1]);
  while (left > 0) {
    alignas(inotify_event) std::array<char, 4096> buffer;
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0) fail("read");
    for (ssize_t at = 0; at < got;) {
      const auto* seen = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      for (const Event& event : kEvents)
        if ((seen->mask & event.bit) != 0 && left-- > 0)
          std::printf("%s %s%s%s\n", paths[seen->wd], event.name, seen->len > 0 ? " " : "",
                      seen->len > 0 ? seen->name : "");
      at += static_cast<ssize_t>(sizeof(inotify_event) + seen->len);
    }
  }
}

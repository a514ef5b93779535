// What a guest must not have in common with any other: random numbers, identifiers and the secret
// from which its kernel derives TCP sequence numbers. Prints a line "name value" for each; runs in
// a container with CAP_NET_ADMIN (for TCP_REPAIR, tcp(7)).
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr uint16_t kServerPort = 40000;
constexpr uint16_t kFirstClientPort = 40001;
constexpr int kConnections = 4;
/// Not in libc's netinet/tcp.h: TCP_SEND_QUEUE of linux/tcp.h.
constexpr int kSendQueue = 2;

void print_hex(const char* name, const unsigned char* bytes, size_t size) {
  std::printf("%s ", name);
  for (size_t i = 0; i < size; ++i) std::printf("%02x", bytes[i]);
  std::printf("\n");
}

void print_file(const char* name, const char* path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  std::printf("%s %s\n", name, line.c_str());
}

int fail(const char* what) {
  std::perror(what);
  std::exit(EXIT_FAILURE);
}

int socket_at(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("bind");
  return fd;
}

/// The kernel adds a clock of 64 ns steps to a hash of addresses, ports and its secret
/// (secure_tcp_seq): without the clock, what is left is the same for the same connection of one
/// kernel, give or take the time between the connection and this look at the clock.
uint32_t hashed_part_of_sequence(uint16_t client_port) {
  const int client = socket_at(client_port);
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_port = htons(kServerPort);
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (connect(client, reinterpret_cast<sockaddr*>(&server), sizeof server) != 0) fail("connect");
  const int on = 1;
  if (setsockopt(client, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) != 0) fail("TCP_REPAIR");
  if (setsockopt(client, IPPROTO_TCP, TCP_REPAIR_QUEUE, &kSendQueue, sizeof kSendQueue) != 0)
    fail("TCP_REPAIR_QUEUE");
  uint32_t sequence = 0;
  socklen_t size = sizeof sequence;
  if (getsockopt(client, IPPROTO_TCP, TCP_QUEUE_SEQ, &sequence, &size) != 0) fail("TCP_QUEUE_SEQ");
  close(client);  // under repair: nothing is sent, and no TIME_WAIT keeps the port
  const uint64_t nanoseconds =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  return sequence - static_cast<uint32_t>(nanoseconds >> 6);
}

}  // namespace

int main() {
  std::array<unsigned char, 16> random{};
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    fail("getrandom");
  print_hex("getrandom", random.data(), random.size());
  print_hex("auxv", reinterpret_cast<const unsigned char*>(getauxval(AT_RANDOM)), 16);
  print_file("uuid", "/proc/sys/kernel/random/uuid");
  print_file("boot_id", "/proc/sys/kernel/random/boot_id");
  const int listener = socket_at(kServerPort);
  if (listen(listener, kConnections) != 0) fail("listen");
  std::printf("tcp");
  for (uint16_t i = 0; i < kConnections; ++i)
    std::printf(" %u", hashed_part_of_sequence(kFirstClientPort + i));
  std::printf("\n");
  return EXIT_SUCCESS;
}

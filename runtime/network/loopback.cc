#include "runtime/network/loopback.h"

#include <array>
#include <bit>
#include <cstddef>
#include <span>

#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kata::network {
namespace {

constexpr int kBacklog = 64;

UniqueFd bpf(bpf_cmd command, bpf_attr& attributes) {
  return UniqueFd(static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes)));
}

Result<UniqueFd> listen_anywhere() {
  UniqueFd socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno("make a socket");
  // The program can give it connections of both families then.
  const int off = 0;
  if (::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0)
    return fail_errno("take IPv4 at a socket");
  if (::listen(socket.get(), kBacklog) != 0) return fail_errno("listen");
  return socket;
}

/// The socket in a map, from which a program takes it.
Result<UniqueFd> map_with(int socket) {
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_SOCKMAP;
  attributes.key_size = sizeof(uint32_t);
  attributes.value_size = sizeof(uint64_t);
  attributes.max_entries = 1;
  UniqueFd map = bpf(BPF_MAP_CREATE, attributes);
  if (!map) return fail_errno("make a map of sockets");
  const uint32_t key = 0;
  const auto value = static_cast<uint64_t>(socket);
  bpf_attr entry{};
  entry.map_fd = static_cast<uint32_t>(map.get());
  entry.key = reinterpret_cast<uint64_t>(&key);
  entry.value = reinterpret_cast<uint64_t>(&value);
  if (::syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &entry, sizeof entry) != 0)
    return fail_errno("put a socket into a map");
  return map;
}

struct Operands {
  uint8_t to = 0;
  uint8_t from = 0;
  int16_t offset = 0;
  int32_t value = 0;
};

bpf_insn instruction(int code, Operands operands) {
  bpf_insn out{};
  out.code = static_cast<uint8_t>(code);
  out.dst_reg = operands.to & 0xf;
  out.src_reg = operands.from & 0xf;
  out.off = operands.offset;
  out.imm = operands.value;
  return out;
}

bpf_insn load(uint8_t to, size_t field) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W,
                     {.to = to, .from = BPF_REG_6, .offset = static_cast<int16_t>(field)});
}
bpf_insn set(uint8_t to, int32_t value) {
  return instruction(BPF_ALU64 | BPF_K | BPF_MOV, {.to = to, .value = value});
}
bpf_insn copy(uint8_t to, uint8_t from) {
  return instruction(BPF_ALU64 | BPF_X | BPF_MOV, {.to = to, .from = from});
}
bpf_insn skip_if(int condition, uint8_t left, int32_t value, int16_t instructions) {
  return instruction(BPF_JMP | BPF_K | condition,
                     {.to = left, .offset = instructions, .value = value});
}
bpf_insn call(int function) { return instruction(BPF_JMP | BPF_CALL, {.value = function}); }

/// For each connection that looks for a listening socket: the map's, when it is TCP to the
/// loopback; whatever the kernel finds otherwise. Addresses are in network byte order.
auto assemble(int map) {
  constexpr size_t kIp6 = offsetof(bpf_sk_lookup, local_ip6);
  constexpr uint32_t kLastOfLoopback6 = 1;
  static_assert(std::endian::native == std::endian::little);
  return std::to_array<bpf_insn>({
      copy(BPF_REG_6, BPF_REG_1),
      load(BPF_REG_2, offsetof(bpf_sk_lookup, protocol)),
      skip_if(BPF_JNE, BPF_REG_2, IPPROTO_TCP, 28),
      load(BPF_REG_2, offsetof(bpf_sk_lookup, family)),
      skip_if(BPF_JEQ, BPF_REG_2, AF_INET6, 4),
      load(BPF_REG_2, offsetof(bpf_sk_lookup, local_ip4)),
      instruction(BPF_ALU64 | BPF_K | BPF_AND, {.to = BPF_REG_2, .value = 0xff}),
      skip_if(BPF_JNE, BPF_REG_2, IN_LOOPBACKNET, 23),
      instruction(BPF_JMP | BPF_JA, {.offset = 8}),
      load(BPF_REG_2, kIp6),
      skip_if(BPF_JNE, BPF_REG_2, 0, 20),
      load(BPF_REG_2, kIp6 + 4),
      skip_if(BPF_JNE, BPF_REG_2, 0, 18),
      load(BPF_REG_2, kIp6 + 8),
      skip_if(BPF_JNE, BPF_REG_2, 0, 16),
      load(BPF_REG_2, kIp6 + 12),
      skip_if(BPF_JNE, BPF_REG_2, static_cast<int32_t>(htonl(kLastOfLoopback6)), 14),
      // socket = map[0]
      instruction(BPF_ST | BPF_MEM | BPF_W, {.to = BPF_REG_10, .offset = -4}),
      instruction(BPF_LD | BPF_DW | BPF_IMM,
                  {.to = BPF_REG_1, .from = BPF_PSEUDO_MAP_FD, .value = map}),
      instruction(0, {}),  // the upper half of the number
      copy(BPF_REG_2, BPF_REG_10),
      instruction(BPF_ALU64 | BPF_K | BPF_ADD, {.to = BPF_REG_2, .value = -4}),
      call(BPF_FUNC_map_lookup_elem),
      skip_if(BPF_JEQ, BPF_REG_0, 0, 7),
      copy(BPF_REG_7, BPF_REG_0),
      copy(BPF_REG_1, BPF_REG_6),
      copy(BPF_REG_2, BPF_REG_7),
      set(BPF_REG_3, 0),
      call(BPF_FUNC_sk_assign),
      copy(BPF_REG_1, BPF_REG_7),
      call(BPF_FUNC_sk_release),
      set(BPF_REG_0, SK_PASS),
      instruction(BPF_JMP | BPF_EXIT, {}),
  });
}

Result<UniqueFd> load_program(std::span<const bpf_insn> program) {
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SK_LOOKUP;
  attributes.expected_attach_type = BPF_SK_LOOKUP;
  attributes.insns = reinterpret_cast<uint64_t>(program.data());
  attributes.insn_cnt = static_cast<uint32_t>(program.size());
  attributes.license = reinterpret_cast<uint64_t>("Apache-2.0");
  UniqueFd loaded = bpf(BPF_PROG_LOAD, attributes);
  if (loaded) return loaded;
  if (errno == ENOSYS || errno == EINVAL)
    return fail(Code::kFailedPrecondition, "the kernel lets no program choose sockets");
  return fail_errno("load a program that chooses sockets");
}

/// It is there as long as the answer.
Result<UniqueFd> attach(int program) {
  UniqueFd here(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!here) return fail_errno("open the network namespace");
  bpf_attr attributes{};
  attributes.link_create.prog_fd = static_cast<uint32_t>(program);
  attributes.link_create.target_fd = static_cast<uint32_t>(here.get());
  attributes.link_create.attach_type = BPF_SK_LOOKUP;
  UniqueFd link = bpf(BPF_LINK_CREATE, attributes);
  if (!link) return fail_errno("attach a program to the network namespace");
  return link;
}

}  // namespace

Result<Loopback> listen_on_loopback() {
  Loopback loopback;
  KATA_TRY(loopback.socket, listen_anywhere());
  KATA_TRY(const UniqueFd map, map_with(loopback.socket.get()));
  const auto instructions = assemble(map.get());
  KATA_TRY(const UniqueFd program, load_program(instructions));
  KATA_TRY(loopback.program, attach(program.get()));
  return loopback;
}

}  // namespace kata::network

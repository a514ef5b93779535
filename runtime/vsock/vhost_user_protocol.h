// The part of the vhost-user protocol that a vsock back end speaks: numbers and layouts.
// Specification: QEMU docs/interop/vhost-user.rst. Everything is in host byte order.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kata::vsock {

enum class VhostUserRequest : uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kGetConfig = 24,
  kSetConfig = 25,
  kResetDevice = 34,
  kGetMaxMemSlots = 36,
  kAddMemReg = 37,
  kRemMemReg = 38,
};

/// Feature bits (virtio 1.2 section 6, vhost-user "Feature negotiation").
inline constexpr uint64_t kFeatureIndirectDesc = 1ULL << 28;
inline constexpr uint64_t kFeatureEventIdx = 1ULL << 29;
inline constexpr uint64_t kFeatureProtocolFeatures = 1ULL << 30;
inline constexpr uint64_t kFeatureVersion1 = 1ULL << 32;

inline constexpr uint64_t kProtocolFeatureMq = 1ULL << 0;
inline constexpr uint64_t kProtocolFeatureReplyAck = 1ULL << 3;
inline constexpr uint64_t kProtocolFeatureConfig = 1ULL << 9;
inline constexpr uint64_t kProtocolFeatureResetDevice = 1ULL << 13;
inline constexpr uint64_t kProtocolFeatureConfigureMemSlots = 1ULL << 15;

/// Message flags: bits 0-1 hold the version, bit 2 marks replies, bit 3 asks for one.
inline constexpr uint32_t kMessageVersion = 0x1;
inline constexpr uint32_t kMessageVersionMask = 0x3;
inline constexpr uint32_t kMessageReply = 0x4;
inline constexpr uint32_t kMessageNeedReply = 0x8;

/// Payload of SET_VRING_{KICK,CALL,ERR}: the ring's index and 'no descriptor comes with this'.
inline constexpr uint64_t kVringIndexMask = 0xff;
inline constexpr uint64_t kVringNoFd = 0x100;

/// Regions of one SET_MEM_TABLE; also the most descriptors that any message carries.
inline constexpr size_t kMaxTableRegions = 8;
inline constexpr size_t kMaxMessageFds = 8;
inline constexpr size_t kMaxConfigBytes = 256;

struct VhostUserHeader {
  uint32_t request;
  uint32_t flags;
  uint32_t size;
};
static_assert(sizeof(VhostUserHeader) == 12);

struct VringState {
  uint32_t index;
  uint32_t num;
};

struct VringAddress {
  uint32_t index;
  uint32_t flags;
  uint64_t descriptors;
  uint64_t used;
  uint64_t available;
  uint64_t log;
};
static_assert(sizeof(VringAddress) == 40);

struct MemoryRegion {
  uint64_t guest_address;
  uint64_t size;
  uint64_t user_address;
  uint64_t mmap_offset;
};
static_assert(sizeof(MemoryRegion) == 32);

struct MemoryTableHeader {
  uint32_t count;
  uint32_t padding;
};

struct SingleMemoryRegion {
  uint64_t padding;
  MemoryRegion region;
};
static_assert(sizeof(SingleMemoryRegion) == 40);

struct ConfigHeader {
  uint32_t offset;
  uint32_t size;
  uint32_t flags;
};
static_assert(sizeof(ConfigHeader) == 12);

/// The largest payload of any request that we know: GET_CONFIG and SET_MEM_TABLE with all regions.
inline constexpr size_t kMaxPayloadBytes = 512;
static_assert(sizeof(MemoryTableHeader) + kMaxTableRegions * sizeof(MemoryRegion) <=
              kMaxPayloadBytes);
static_assert(sizeof(ConfigHeader) + kMaxConfigBytes <= kMaxPayloadBytes);

}  // namespace kata::vsock

// The seam between the runtime and the module that links libvirt: blocking calls with plain values,
// no Boost.Asio, nothing of libvirt. The module and the runtime come from one build.
#pragma once

#include <memory>
#include <string>

#include "common/error/error.h"

namespace kata::hypervisor {

/// One connection to libvirt. Every call blocks, some for seconds; calls from one thread at a time.
/// Unavailable: libvirt does not answer.
class LibvirtDriver {
 public:
  virtual ~LibvirtDriver() = default;

  /// Starts a transient domain, which libvirt forgets when it ends.
  virtual Status create(const std::string& domain_xml) = 0;

  /// Ends it at once. A domain that has ended is no error.
  virtual Status destroy(const std::string& uuid) = 0;
};

/// Name of the module's only symbol, of type OpenLibvirt.
inline constexpr const char* kOpenLibvirtSymbol = "kata_open_libvirt";
/// Changed with every change of this header: module and runtime must agree.
inline constexpr int kLibvirtModuleVersion = 1;

/// Opens `uri`. Null, and `error` is set: FailedPrecondition when `version` is not
/// kLibvirtModuleVersion, else libvirt's reason. At most one connection per process may be to
/// qemu:///embed.
using OpenLibvirt = LibvirtDriver* (*)(int version, const char* uri, std::unique_ptr<Error>* error);

}  // namespace kata::hypervisor

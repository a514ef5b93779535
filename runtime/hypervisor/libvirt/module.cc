// libkata-libvirt.so: the only place that knows libvirt's API (https://libvirt.org/html/).
#include <atomic>
#include <thread>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "runtime/hypervisor/libvirt/driver.h"

namespace kata::hypervisor {
namespace {

Code code_of(int libvirt_code) {
  switch (libvirt_code) {
    case VIR_ERR_NO_DOMAIN:
      return Code::kNotFound;
    case VIR_ERR_DOM_EXIST:
      return Code::kAlreadyExists;
    case VIR_ERR_NO_MEMORY:
      return Code::kResourceExhausted;
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_AUTH_FAILED:
      return Code::kPermissionDenied;
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_INVALID_ARG:
      return Code::kInvalidArgument;
    case VIR_ERR_NO_SUPPORT:
      return Code::kUnimplemented;
    default:
      return Code::kUnavailable;
  }
}

/// The calling thread's last libvirt error.
Error libvirt_error(std::string_view what) {
  const virError* last = virGetLastError();
  if (last == nullptr) return Error(Code::kUnavailable, fmt::format("libvirt: {} failed", what));
  return Error(code_of(last->code),
               fmt::format("libvirt: {}: {}", what, last->message ? last->message : "no message"));
}

/// libvirt's own event loop, which an embedded driver needs to see its VMs, on a thread.
class EventLoop {
 public:
  Status start() {
    if (virEventRegisterDefaultImpl() != 0)
      return std::unexpected(libvirt_error("registering the event loop"));
    // The loop sleeps until its next event: a timer of our own wakes it when it has to end.
    wake_timer_ = virEventAddTimeout(
        -1, [](int, void*) {}, nullptr, nullptr);
    if (wake_timer_ < 0) return std::unexpected(libvirt_error("creating a timer"));
    thread_ = std::thread([this] {
      while (!ends_) virEventRunDefaultImpl();
    });
    return {};
  }

  ~EventLoop() {
    if (!thread_.joinable()) return;
    ends_ = true;
    virEventUpdateTimeout(wake_timer_, 0);
    thread_.join();
  }

 private:
  std::atomic<bool> ends_ = false;
  int wake_timer_ = -1;
  std::thread thread_;
};

/// A domain reference that is dropped with the object.
class Domain {
 public:
  explicit Domain(virDomainPtr domain) : domain_(domain) {}
  ~Domain() {
    if (domain_ != nullptr) virDomainFree(domain_);
  }
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;
  virDomainPtr get() const { return domain_; }

 private:
  virDomainPtr domain_;
};

class Driver final : public LibvirtDriver {
 public:
  ~Driver() override {
    if (connection_ != nullptr) virConnectClose(connection_);
  }

  Status open(const char* uri) {
    // Errors are returned, not printed.
    virSetErrorFunc(nullptr, [](void*, virErrorPtr) {});
    if (virInitialize() != 0) return std::unexpected(libvirt_error("initialising"));
    KATA_CHECK(loop_.start());
    connection_ = virConnectOpen(uri);
    if (connection_ == nullptr)
      return std::unexpected(libvirt_error(fmt::format("connecting to '{}'", uri)));
    return {};
  }

  Status create(const std::string& domain_xml) override {
    const Domain domain(virDomainCreateXML(connection_, domain_xml.c_str(), 0));
    if (domain.get() == nullptr) return std::unexpected(libvirt_error("starting the domain"));
    return {};
  }

  Status destroy(const std::string& uuid) override {
    const Domain domain(virDomainLookupByUUIDString(connection_, uuid.c_str()));
    if (domain.get() != nullptr && virDomainDestroy(domain.get()) == 0) return {};
    Error error = libvirt_error("ending the domain");
    if (error.code() == Code::kNotFound) return {};
    return std::unexpected(std::move(error));
  }

 private:
  // The loop outlives the connection, whose close needs it.
  EventLoop loop_;
  virConnectPtr connection_ = nullptr;
};

}  // namespace

extern "C" [[gnu::visibility("default")]] LibvirtDriver* kata_open_libvirt(
    int version, const char* uri, std::unique_ptr<Error>* error) {
  if (version != kLibvirtModuleVersion) {
    *error = std::make_unique<Error>(
        Code::kFailedPrecondition,
        fmt::format(
            "the libvirt module has version {}, the runtime wants {}: install both from one "
            "build",
            kLibvirtModuleVersion, version));
    return nullptr;
  }
  auto driver = std::make_unique<Driver>();
  if (Status opened = driver->open(uri); !opened) {
    *error = std::make_unique<Error>(std::move(opened).error());
    return nullptr;
  }
  return driver.release();
}

}  // namespace kata::hypervisor

#include "shim/io/descriptor.h"

#include <boost/asio/redirect_error.hpp>

#include "shim/io/copier.h"

namespace kata::io {

Descriptor::Descriptor() : descriptor_(Copier::instance().executor()) {}

Status Descriptor::open(UniqueFd fd) {
  boost::system::error_code error;
  descriptor_.assign(fd.get(), error);
  if (error) return fail_errno("wait for a descriptor", error.value());
  fd.release();
  return {};
}

asio::awaitable<bool> Descriptor::wait(Ready what) {
  boost::system::error_code error;
  co_await descriptor_.async_wait(what, asio::redirect_error(asio::use_awaitable, error));
  co_return !error && is_open();
}

void Descriptor::close() {
  boost::system::error_code ignored;
  descriptor_.close(ignored);
}

std::string reopen_path(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

}  // namespace kata::io

#include "shim/io/copier.h"

#include <boost/asio/executor_work_guard.hpp>
#include <pthread.h>
#include <signal.h>

namespace kata::io {
namespace {

/// A new thread inherits the mask: the copier takes no signal meant for the process, and a SIGPIPE
/// of its own system calls stays pending there instead of ending the shim.
std::thread start_without_signals(asio::io_context& context) {
  sigset_t all, previous;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &previous);
  std::thread thread([&context] {
    pthread_setname_np(pthread_self(), "stdio");
    auto work = asio::make_work_guard(context);
    context.run();
  });
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  return thread;
}

}  // namespace

Copier& Copier::instance() {
  static Copier copier;
  return copier;
}

Copier::Copier() : context_(*new asio::io_context(1)), thread_(start_without_signals(context_)) {}

Copier::~Copier() {
  context_.stop();
  thread_.join();
}

}  // namespace kata::io

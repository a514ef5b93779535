#include "shim/io/reader_watch.h"

#include <utility>

#include <unistd.h>

#include "shim/io/copier.h"

namespace kata::io {
namespace {

ReaderWatcher& watcher() { return Copier::instance().reader_watcher(); }

}  // namespace

ReaderWatch::ReaderWatch() : changed_(Copier::instance().executor()) {}

Result<std::unique_ptr<ReaderWatch>> ReaderWatch::start(int fifo, uint32_t events) {
  std::unique_ptr<ReaderWatch> watch(new ReaderWatch);
  KATA_TRY(watch->id_, watcher().add(fifo, events));
  watch->wanted_ = events;
  watcher().watches_.emplace(watch->id_, watch.get());
  return watch;
}

Status ReaderWatch::add(int fifo, uint32_t events) {
  KATA_CHECK(watcher().add(fifo, events));
  wanted_ |= events;
  return {};
}

uint32_t ReaderWatch::take() {
  watcher().read_events();
  return std::exchange(happened_, 0);
}

asio::awaitable<uint32_t> ReaderWatch::next() {
  while (id_ >= 0) {
    if (uint32_t happened = take()) co_return happened;
    changed_ = sys::Event(Copier::instance().executor());
    co_await changed_.wait();
  }
  co_return 0;
}

void ReaderWatch::close() {
  if (id_ < 0) return;
  watcher().remove(this);
  id_ = -1;
  changed_.set();
}

Status ReaderWatcher::open() {
  if (inotify_) return {};
  UniqueFd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify) return fail_errno("inotify_init1");
  KATA_CHECK(inotify_.emplace().open(std::move(inotify)));
  asio::co_spawn(
      Copier::instance().executor(), [this] { return run(); }, asio::detached);
  return {};
}

Result<int> ReaderWatcher::add(int fifo, uint32_t events) {
  KATA_CHECK(open());
  int id = ::inotify_add_watch(inotify_->fd(), reopen_path(fifo).c_str(), events | IN_MASK_ADD);
  if (id < 0) return fail_errno("inotify_add_watch");
  return id;
}

void ReaderWatcher::remove(ReaderWatch* watch) {
  std::erase_if(watches_, [watch](const auto& entry) { return entry.second == watch; });
  if (!watches_.contains(watch->id_)) ::inotify_rm_watch(inotify_->fd(), watch->id_);
}

void ReaderWatcher::read_events() {
  // Events of a file that is no directory carry no name, so all have one size.
  inotify_event events[32];
  for (ssize_t bytes; (bytes = ::read(inotify_->fd(), events, sizeof events)) > 0;) {
    for (size_t i = 0; i < static_cast<size_t>(bytes) / sizeof events[0]; ++i) {
      auto [begin, end] = watches_.equal_range(events[i].wd);
      for (auto entry = begin; entry != end; ++entry) {
        ReaderWatch& watch = *entry->second;
        watch.happened_ |= events[i].mask & watch.wanted_;
        if (watch.happened_) watch.changed_.set();
      }
    }
  }
}

asio::awaitable<void> ReaderWatcher::run() {
  bool open = true;
  while (open) {
    open = co_await inotify_->wait(Descriptor::Ready::wait_read);
    read_events();
  }
}

}  // namespace kata::io

// rtnetlink(7) through libnl: its objects with owners, its errors with our codes.
#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "common/error/error.h"

namespace kata::network {

/// Owns what one of libnl's functions has made, and gives it to another one in the end.
template <typename T, auto Free>
struct Freer {
  void operator()(T* object) const { Free(object); }
};
template <typename T, auto Free>
using NlOwner = std::unique_ptr<T, Freer<T, Free>>;

using NlSocket = NlOwner<nl_sock, nl_socket_free>;
using NlCache = NlOwner<nl_cache, nl_cache_free>;
using NlAddress = NlOwner<nl_addr, nl_addr_put>;

/// `error`: what libnl has answered, negative.
Error netlink_error(std::string_view what, int error);
/// Of an answer of libnl: an error where it is negative.
Status netlink_status(std::string_view what, int answer);

/// A socket of the calling thread's network namespace, of which it stays. Not for two threads at
/// once.
Result<NlSocket> open_netlink();

/// A non-blocking socket that is told of changes in these groups (RTNLGRP_*) from here on, and the
/// end of all that it has been told, when only that there was something matters.
Result<NlSocket> open_events(std::initializer_list<int> groups);
void drain_events(const NlSocket& socket);

/// "10.0.0.1/24", "fe80::1", "0a:58:…"; a prefix that is all of the address is left out unless
/// `with_prefix`. Null is "".
std::string to_text(const nl_addr* address, bool with_prefix = false);
/// InvalidArgument, with the text. `family`: AF_INET, AF_INET6, AF_LLC (of a MAC), or AF_UNSPEC.
Result<NlAddress> parse_address(const std::string& text, int family);

/// `visit(T*)` for each object of a cache.
template <typename T, std::invocable<T*> Visitor>
void for_each(const NlCache& cache, Visitor visit) {
  for (nl_object* object = nl_cache_get_first(cache.get()); object != nullptr;
       object = nl_cache_get_next(object))
    visit(reinterpret_cast<T*>(object));
}

}  // namespace kata::network

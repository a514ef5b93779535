// The project's asynchronous style: coroutines of Boost.Asio that return Result.
//
// An Async<T> does nothing until it is awaited (co_await) or spawned. It runs on the executor of
// the coroutine that awaits it. In the shim all state of a pod lives on one io_context with one
// thread, so code between two co_awaits needs no lock.
//
// GCC 12 miscompiles some co_await expressions whose operand builds temporaries from braced
// initialisers or conditional operators: give such arguments a name first.
//
// No condition of an if, while, for or switch awaits: `bool found = co_await f(); if (found)`, or
// the same as the condition's initialiser. GCC 12.2, at every -O level, loses the set-up of a
// coroutine that awaits in a condition and declares no variable anywhere: it starts from an
// uninitialised state, usually runs not one line of its body, and who awaits it waits for ever.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "common/error/error.h"

namespace kata {

namespace asio = boost::asio;

template <typename T>
using Async = asio::awaitable<Result<T>>;

}  // namespace kata

#include "shim/io/stdio.h"

#include <string_view>
#include <utility>

#include "shim/io/fifo.h"
#include "shim/io/process_stdio.h"

namespace kata::io {
namespace {

struct Uri {
  std::string_view scheme;
  std::string path;
};

/// A plain path is a fifo's.
Uri parse_uri(const std::string& text) {
  constexpr std::string_view kSeparator = "://";
  auto at = text.find(kSeparator);
  if (text.starts_with('/') || at == std::string::npos) return {"fifo", text};
  return {std::string_view(text).substr(0, at), text.substr(at + kSeparator.size())};
}

std::unexpected<Error> unsupported(std::string_view stream, const Uri& uri) {
  if (uri.scheme == "file" || uri.scheme == "binary")
    return fail(Code::kUnimplemented, "{} to {}:// is not supported; give a fifo's path", stream,
                uri.scheme);
  return fail(Code::kInvalidArgument, "{} has the unknown URI scheme {}; give a fifo's path",
              stream, uri.scheme);
}

Result<std::unique_ptr<Sink>> open_sink(std::string_view stream, const std::string& target) {
  if (target.empty()) return std::unique_ptr<Sink>();
  auto uri = parse_uri(target);
  if (uri.scheme != "fifo") return unsupported(stream, uri);
  auto fifo = find_fifo(uri.path);
  if (!fifo) return std::unexpected(fifo.error().with_stage(stream));
  return make_fifo_sink(*std::move(fifo));
}

Result<UniqueFd> open_source(const std::string& target) {
  if (target.empty()) return UniqueFd();
  auto uri = parse_uri(target);
  if (uri.scheme != "fifo")
    return fail(Code::kInvalidArgument, "stdin cannot come from {}://; give a fifo's path",
                uri.scheme);
  auto fifo = find_fifo(uri.path);
  if (!fifo) return std::unexpected(fifo.error().with_stage("stdin"));
  return fifo;
}

}  // namespace

Result<std::unique_ptr<sandbox::ProcessIo>> open_stdio(asio::any_io_executor executor,
                                                       const StdioConfig& config) {
  ClientEnds ends;
  KATA_TRY(ends.in, open_source(config.in));
  KATA_TRY(ends.out, open_sink("stdout", config.out));
  if (!config.terminal) {
    KATA_TRY(ends.err, open_sink("stderr", config.err));
  }
  return std::make_unique<ProcessStdio>(std::move(executor), config.id, std::move(ends));
}

}  // namespace kata::io

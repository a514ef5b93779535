#include "shim/io/stdio.h"

#include <string_view>
#include <utility>

#include "shim/io/fifo.h"
#include "shim/io/file_sink.h"
#include "shim/io/logger.h"
#include "shim/io/process_stdio.h"
#include "shim/io/uri.h"

namespace kata::io {
namespace {

/// An output as the request names it; an empty path is not wanted.
struct Output {
  std::string_view stream;
  StdioUri uri;

  bool needs_logger() const { return uri.scheme == "binary" || uri.scheme == "binary-v2"; }
};

struct Outputs {
  Output out;
  Output err;
  /// Both name the same logger.
  bool share_logger = false;
};

Result<Output> output_of(std::string_view stream, const std::string& text) {
  auto uri = parse_stdio_uri(text);
  if (!uri) return std::unexpected(uri.error().with_stage(stream));
  return Output{.stream = stream, .uri = *std::move(uri)};
}

Result<Outputs> outputs_of(const StdioConfig& config) {
  Outputs outputs;
  KATA_TRY(outputs.out, output_of("stdout", config.out));
  KATA_TRY(outputs.err, output_of("stderr", config.terminal ? "" : config.err));
  outputs.share_logger =
      outputs.out.needs_logger() && outputs.err.needs_logger() && config.out == config.err;
  return outputs;
}

Result<std::unique_ptr<Sink>> sink_of(const StdioUri& uri) {
  if (uri.path.empty()) return std::unique_ptr<Sink>();
  if (uri.scheme == "file") return open_file_sink(uri.path);
  if (uri.scheme != "fifo")
    return fail(Code::kInvalidArgument,
                "unknown URI scheme {}; give a fifo's path, file:// or binary://", uri.scheme);
  KATA_TRY(auto fifo, find_fifo(uri.path));
  return make_fifo_sink(std::move(fifo));
}

Result<std::unique_ptr<Sink>> open_sink(const Output& output) {
  auto sink = sink_of(output.uri);
  if (!sink) return std::unexpected(sink.error().with_stage(output.stream));
  return sink;
}

Result<UniqueFd> open_source(const std::string& target) {
  if (target.empty()) return UniqueFd();
  KATA_TRY(auto uri, parse_stdio_uri(target));
  if (uri.scheme != "fifo")
    return fail(Code::kInvalidArgument, "stdin cannot come from {}://; give a fifo's path",
                uri.scheme);
  auto fifo = find_fifo(uri.path);
  if (!fifo) return std::unexpected(fifo.error().with_stage("stdin"));
  return fifo;
}

/// Everything but loggers.
Result<ClientEnds> open_ends(const StdioConfig& config, const Outputs& outputs) {
  ClientEnds ends;
  ends.terminal = config.terminal;
  KATA_TRY(ends.in, open_source(config.in));
  if (!outputs.out.needs_logger()) {
    KATA_TRY(ends.out, open_sink(outputs.out));
  }
  if (!outputs.err.needs_logger()) {
    KATA_TRY(ends.err, open_sink(outputs.err));
  }
  return ends;
}

LoggerOptions logger_options(const StdioConfig& config, const StdioUri& uri) {
  return {.uri = uri,
          // An exec's logger is told the exec's id, as under runc.
          .container_id = config.id.substr(config.id.rfind('/') + 1),
          .nspace = config.nspace,
          .network_namespace = config.logger_network};
}

Async<void> start_loggers(asio::any_io_executor executor, const StdioConfig& config,
                          const Outputs& outputs, ClientEnds& ends) {
  if (outputs.out.needs_logger()) {
    LoggerOptions options = logger_options(config, outputs.out.uri);
    options.wants_err = outputs.share_logger;
    auto sinks = co_await start_logger(executor, options);
    if (!sinks) co_return std::unexpected(sinks.error().with_stage("stdout"));
    ends.out = std::move(sinks->out);
    ends.err = outputs.share_logger ? std::move(sinks->err) : std::move(ends.err);
  }
  if (outputs.err.needs_logger() && !outputs.share_logger) {
    LoggerOptions options = logger_options(config, outputs.err.uri);
    options.wants_out = false;
    auto sinks = co_await start_logger(executor, options);
    if (!sinks) co_return std::unexpected(sinks.error().with_stage("stderr"));
    ends.err = std::move(sinks->err);
  }
  co_return Status();
}

}  // namespace

Async<std::unique_ptr<sandbox::ProcessIo>> open_stdio(asio::any_io_executor executor,
                                                      StdioConfig config) {
  KATA_CO_TRY(Outputs outputs, outputs_of(config));
  KATA_CO_TRY(ClientEnds ends, open_ends(config, outputs));
  KATA_CO_CHECK(co_await start_loggers(executor, config, outputs, ends));
  co_return std::make_unique<ProcessStdio>(executor, config.id, std::move(ends));
}

}  // namespace kata::io

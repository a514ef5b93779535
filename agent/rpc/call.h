// One RPC of the asynchronous gRPC server, from its arrival to its answer.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "agent.grpc.pb.h"
#include "agent/rpc/answer.h"
#include "common/error/error.h"

namespace kata::rpc {

/// What the completion queue hands back.
class Tag {
 public:
  virtual ~Tag() = default;
  /// `ok`: the operation has succeeded. Deletes the object when it was the last one.
  virtual void completed(bool ok) = 0;
};

/// A message is sent as a header, each of its bytes as three at worst, and the client's transport
/// ends over headers of more than 8 KiB: of a long one the middle is left out.
inline std::string fit_into_header(std::string message) {
  constexpr size_t kMaxMessageBytes = 2048;
  constexpr std::string_view kEllipsis = " [...] ";
  if (message.size() <= kMaxMessageBytes) return message;
  const size_t end = (kMaxMessageBytes - kEllipsis.size()) / 2;
  return message.replace(end, message.size() - 2 * end, kEllipsis);
}

inline grpc::Status to_grpc(const Error& error) {
  return grpc::Status(static_cast<grpc::StatusCode>(error.code()),
                      fit_into_header(error.message()));
}

/// Waits for one call of a method, answers it by `handler`, and has a successor wait for the next
/// one meanwhile. Lives until its answer has been sent.
template <typename Request, typename Response>
class Call : public Tag {
 public:
  using Handler = std::function<void(const Request&, Finish<Response>)>;
  using Method = void (pb::Agent::AsyncService::*)(grpc::ServerContext*, Request*,
                                                   grpc::ServerAsyncResponseWriter<Response>*,
                                                   grpc::CompletionQueue*,
                                                   grpc::ServerCompletionQueue*, void*);

  struct Endpoint {
    pb::Agent::AsyncService& service;
    grpc::ServerCompletionQueue& queue;
    Method method;
    Handler handler;
  };

  /// Starts to wait for calls.
  static void serve(std::shared_ptr<const Endpoint> endpoint) { new Call(std::move(endpoint)); }

  void completed(bool ok) override {
    if (!arrived_ && ok) {
      arrived_ = true;
      serve(endpoint_);
      endpoint_->handler(request_, [this](Result<Response> result) { finish(std::move(result)); });
      return;
    }
    delete this;  // answered, or the server stops
  }

 private:
  explicit Call(std::shared_ptr<const Endpoint> endpoint)
      : endpoint_(std::move(endpoint)), responder_(&context_) {
    auto* queue = &endpoint_->queue;
    (endpoint_->service.*endpoint_->method)(&context_, &request_, &responder_, queue, queue, this);
  }

  void finish(Result<Response> result) {
    if (result) {
      responder_.Finish(*result, grpc::Status::OK, this);
    } else {
      responder_.FinishWithError(to_grpc(result.error()), this);
    }
  }

  std::shared_ptr<const Endpoint> endpoint_;
  grpc::ServerContext context_;
  Request request_;
  grpc::ServerAsyncResponseWriter<Response> responder_;
  bool arrived_ = false;
};

}  // namespace kata::rpc

// Where the task service hands its events to.
#pragma once

#include <string>

#include <google/protobuf/message_lite.h>

namespace kata::events {

// containerd's topics of task events (github.com/containerd/containerd, runtime/events.go).
inline constexpr const char* kTopicCreate = "/tasks/create";
inline constexpr const char* kTopicStart = "/tasks/start";
inline constexpr const char* kTopicExit = "/tasks/exit";
inline constexpr const char* kTopicDelete = "/tasks/delete";
inline constexpr const char* kTopicExecAdded = "/tasks/exec-added";
inline constexpr const char* kTopicExecStarted = "/tasks/exec-started";
inline constexpr const char* kTopicPaused = "/tasks/paused";
inline constexpr const char* kTopicResumed = "/tasks/resumed";
inline constexpr const char* kTopicOom = "/tasks/oom";

class EventSink {
 public:
  virtual ~EventSink() = default;

  /// Queues an event and returns at once. Events reach containerd in the order of these calls.
  virtual void publish(std::string topic, const google::protobuf::MessageLite& event) = 0;
};

}  // namespace kata::events

#include "agent/container/execs.h"

#include <utility>

namespace kata::container {

Status Execs::reserve(const std::string& id) {
  std::lock_guard lock(mutex_);
  if (cleared_) return fail(Code::kFailedPrecondition, "cannot exec in a stopped container");
  if (!execs_.try_emplace(id).second) {
    return fail(Code::kAlreadyExists, "exec {} of container {} exists already", id, container_id_);
  }
  return {};
}

void Execs::cancel(const std::string& id) {
  std::lock_guard lock(mutex_);
  execs_.erase(id);
}

void Execs::publish(const std::string& id, std::shared_ptr<ContainerProcess> process) {
  std::lock_guard lock(mutex_);
  // After clear() the container is gone, and the process with its control group.
  if (!cleared_) execs_[id] = std::move(process);
}

Result<std::shared_ptr<ContainerProcess>> Execs::find(const std::string& id) const {
  std::lock_guard lock(mutex_);
  auto found = execs_.find(id);
  if (found == execs_.end()) {
    return fail(Code::kNotFound, "container {} has no exec {}", container_id_, id);
  }
  if (!found->second) {
    return fail(Code::kFailedPrecondition, "exec {} of container {} is being created", id,
                container_id_);
  }
  return found->second;
}

void Execs::erase(const std::string& id, const std::shared_ptr<ContainerProcess>& process) {
  std::lock_guard lock(mutex_);
  auto found = execs_.find(id);
  if (found != execs_.end() && found->second == process) execs_.erase(found);
}

std::vector<std::shared_ptr<ContainerProcess>> Execs::clear() {
  std::vector<std::shared_ptr<ContainerProcess>> all;
  std::lock_guard lock(mutex_);
  cleared_ = true;
  for (auto& [id, process] : execs_) {
    if (process) all.push_back(std::move(process));
  }
  execs_.clear();
  return all;
}

}  // namespace kata::container

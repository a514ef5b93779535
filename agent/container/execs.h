// The execs of one container, by id.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/container/container_process.h"
#include "common/error/error.h"

namespace kata::container {

/// Any thread.
class Execs {
 public:
  explicit Execs(std::string container_id) : container_id_(std::move(container_id)) {}

  /// Takes the id. AlreadyExists from then on until it is erased. FailedPrecondition after clear().
  Status reserve(const std::string& id);
  void cancel(const std::string& id);
  void publish(const std::string& id, std::shared_ptr<ContainerProcess> process);

  /// NotFound; FailedPrecondition while the exec is being created.
  Result<std::shared_ptr<ContainerProcess>> find(const std::string& id) const;
  /// Frees the id, unless it is another process's by now.
  void erase(const std::string& id, const std::shared_ptr<ContainerProcess>& process);
  /// For good: returns those that there are.
  std::vector<std::shared_ptr<ContainerProcess>> clear();

 private:
  const std::string container_id_;

  mutable std::mutex mutex_;
  bool cleared_ = false;  // guarded by mutex_
  /// Guarded by mutex_. Null while the exec is being created.
  std::map<std::string, std::shared_ptr<ContainerProcess>> execs_;
};

}  // namespace kata::container

// The session keyring of a container (session-keyring(7)).
#pragma once

#include <string>

#include "common/error/error.h"

namespace kata::isolation {

/// Joins the container's, made by the first that asks for it, which its user may search: keys of
/// the agent and of other containers are out of reach. Does nothing on a kernel without keyrings.
Status join_session_keyring(const std::string& container_id);

}  // namespace kata::isolation

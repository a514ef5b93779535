// The session keyring of a container (session-keyring(7)).
#pragma once

#include "common/error/error.h"

namespace kata::isolation {

/// Joins a new one that its user may search, so that keys of the agent and of other containers are
/// out of reach. Does nothing on a kernel without keyrings.
Status join_session_keyring();

}  // namespace kata::isolation

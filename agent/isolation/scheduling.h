// How the kernel schedules a process: process.scheduler, ioPriority, execCPUAffinity, and the
// personality of a container. Of the calling process, which passes it on through execve.
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// What is there of the two. Needs CAP_SYS_NICE for most.
Status set_scheduling(const oci::Process& process);

/// Of an exec: `initial` before it joins the container, `final` afterwards. Where only the first is
/// given the second is every processor that the control group allows, as after a move into it.
/// InvalidArgument: none of the processors is there.
Status set_initial_affinity(const oci::Process& process);
Status set_final_affinity(const oci::Process& process);

Status set_personality(const oci::Personality& personality);

}  // namespace kata::isolation

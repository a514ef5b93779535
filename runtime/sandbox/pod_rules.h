// What is a Kubernetes pod, and what it may not ask of a VM.
#pragma once

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::sandbox {

/// Whether CRI has made this container (containerd's plugin, CRI-O).
bool is_of_cri(const oci::Spec& spec);

/// Of a pod's first container, as CRI describes it: FailedPrecondition when the pod wants to be in
/// a namespace of the node's, with the field of the pod that says so. Anything else is no pod of
/// CRI.
Status check_pod(const oci::Spec& spec);

/// Whether a mount is the /dev/shm that CRI has made on the host for all containers of the pod (a
/// tmpfs <…>/<sandbox id>/<…>/shm of containerd's or CRI-O's), and no volume.
bool is_pods_shm(const oci::Mount& mount, const oci::Spec& spec);

}  // namespace kata::sandbox

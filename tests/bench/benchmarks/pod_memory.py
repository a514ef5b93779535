"""Proportional set size of everything that an idle pod costs the host: shim, QEMU, virtiofsd; sandbox
and gofer; the container's own process where the host runs it."""

from figures import Aim, Figure
from peers import ContainerPeer

ORDER = 5
NAME = "memory"
TITLE = "Memory of idle pods"
NEEDS = ContainerPeer
COUNTS, COUNTS_SHORT = (1, 10, 20), (1, 2)
FIGURES = (Figure("pod_of_1", "PSS of a pod", "MB"),
           Figure("shim_of_1", "… of which its shim", "MB"),
           Figure("pod_of_10", "PSS of a pod, one of 10", "MB"),
           Figure("shim_of_10", "… of which its shim", "MB"),
           Figure("pod_of_20", "PSS of a pod, one of 20", "MB"),
           Figure("shim_of_20", "… of which its shim", "MB"))
AIMS = (Aim("pod_of_1", "cold", 100), Aim("pod_of_1", "template", 70), Aim("shim_of_1", "cold", 20),
        Aim("shim_of_1", "template", 20))
RUNS = 3
COMMAND = ("sleep", "1000")


def run(peer, short):
    counts = COUNTS_SHORT if short else COUNTS
    names = [peer.new_name() for _ in range(counts[-1])]
    started, samples = 0, {}
    with peer.containers.removed_at_end(names):
        for count in counts:
            peer.containers.run_at_once(peer.runtime, names[started:count], *COMMAND)
            started = count
            usages = peer.containers.idle_usages(*names)
            samples |= per_pod(usages, count)
    return {name: [value] for name, value in samples.items()
            if name in {figure.name for figure in FIGURES}}


def per_pod(usages, count):
    shims = [usage for usage in usages if usage.program.startswith("containerd-shim")]
    return {f"pod_of_{count}": sum(usage.pss_mb for usage in usages) / count,
            f"shim_of_{count}": sum(usage.pss_mb for usage in shims) / count}

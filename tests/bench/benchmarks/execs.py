"""`ctr task exec … true` in a container that runs."""

from figures import Figure
from peers import ContainerPeer

ORDER = 3
NAME = "exec"
TITLE = "Exec"
NEEDS = ContainerPeer
FIGURES = (Figure("exec", "exec of true", "ms"),)
AIMS = ()
RUNS = None
# The first exec warms caches of the container and does not count.
EXECS, EXECS_SHORT = 5, 1


def run(peer, short):
    name = peer.new_name()
    with peer.containers.removed_at_end([name]):
        peer.containers.run(peer.runtime, name, "sleep", "1000", detach=True)
        peer.containers.time_exec(name, "warm-up")
        return {"exec": [peer.containers.time_exec(name, f"run-{number}")
                         for number in range(EXECS_SHORT if short else EXECS)]}

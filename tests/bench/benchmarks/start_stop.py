"""`ctr run --rm … true`, from its start to its end; the floor from the start of QEMU to its exit."""

from figures import Aim, Figure
from peers import Peer

ORDER = 2
NAME = "start-stop"
TITLE = "Start and stop"
NEEDS = Peer
FIGURES = (Figure("start_stop", "start to end", "ms"),)
AIMS = (Aim("start_stop", "cold", 1.25, of="floor"),)
RUNS = None


def run(peer, short):
    del short
    _, total_ms = peer.start("true")
    return {"start_stop": [total_ms]}

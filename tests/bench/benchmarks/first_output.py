"""From the start of `ctr run … echo` to the first byte of its output."""

from figures import Aim, Figure
from peers import Peer

ORDER = 1
NAME = "first-output"
TITLE = "Start to first output"
NEEDS = Peer
FIGURES = (Figure("first_output", "start to first output", "ms"),)
AIMS = (Aim("first_output", "template", 0.35, of="cold"),)
RUNS = None


def run(peer, short):
    del short
    first_ms, _ = peer.start("echo", "up")
    return {"first_output": [first_ms]}

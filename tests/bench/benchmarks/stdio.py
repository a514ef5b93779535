"""A container's stdout at a reader of `ctr run`; the floor's is one bare vsock connection."""

from figures import Aim, Figure
from peers import Peer

ORDER = 6
NAME = "stdio"
TITLE = "Throughput of stdout"
NEEDS = Peer
FIGURES = (Figure("stdout", "stdout", "MiB/s", higher_is_better=True),)
AIMS = (Aim("stdout", "cold", 0.8, of="floor"),)
RUNS = None
MIB, MIB_SHORT = 256, 8


def run(peer, short):
    mib = MIB_SHORT if short else MIB
    return {"stdout": [mib / (peer.stream(mib) / 1000)]}

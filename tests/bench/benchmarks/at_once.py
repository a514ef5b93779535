"""Pods started at once, until the last of them runs, beside as many started one after the other."""

import time

from figures import Aim, Figure
from peers import ContainerPeer

ORDER = 4
NAME = "at-once"
TITLE = "20 pods at once"
NEEDS = ContainerPeer
FIGURES = (Figure("at_once", "20 pods at once", "ms"),
           Figure("singles", "20 single starts, one after the other", "ms"),
           Figure("ratio", "at once, to single starts", "ratio"))
AIMS = (Aim("ratio", "cold", 0.8), Aim("ratio", "template", 0.8))
RUNS = 3
PODS, PODS_SHORT = 20, 2
COMMAND = ("sleep", "1000")


def run(peer, short):
    count = PODS_SHORT if short else PODS
    singles_ms = sum(_time_starts(peer, 1) for _ in range(count))
    at_once_ms = _time_starts(peer, count)
    return {"at_once": [at_once_ms], "singles": [singles_ms], "ratio": [at_once_ms / singles_ms]}


def _time_starts(peer, count):
    """Without their ends."""
    names = [peer.new_name() for _ in range(count)]
    with peer.containers.removed_at_end(names):
        began = time.perf_counter()
        peer.containers.run_at_once(peer.runtime, names, *COMMAND)
        return (time.perf_counter() - began) * 1000

"""Loops of a program of our own (guest_loops.cc): system calls and plain computation."""

import json

from figures import Figure
from peers import Peer

ORDER = 9
NAME = "loops"
TITLE = "System calls and CPU"
NEEDS = Peer
FIGURES = (Figure("getpid", "getpid", "ns"),
           Figure("pread", "pread of one cached byte", "ns"),
           Figure("cpu", "50 million steps of xorshift", "ms"))
AIMS = ()
RUNS = None
PROGRAM = "/usr/bin/guest-loops"
CALLS, CALLS_SHORT = 200_000, 1000
STEPS, STEPS_SHORT = 50_000_000, 100_000


def run(peer, short):
    calls = json.loads(peer.output(PROGRAM, "syscalls", str(CALLS_SHORT if short else CALLS)))
    cpu = json.loads(peer.output(PROGRAM, "cpu", str(STEPS_SHORT if short else STEPS)))
    return {name: [value] for name, value in {**calls, **cpu}.items()}

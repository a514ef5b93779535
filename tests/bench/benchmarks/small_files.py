"""A tree of small files, by a program of our own (guest_loops.cc): created, looked at, read, deleted."""

import json

from figures import Figure
from peers import DATA, Peer

ORDER = 8
NAME = "small-files"
TITLE = "Tree of 2000 files of 4 KiB"
NEEDS = Peer
FIGURES = tuple(Figure(name, name, "ms") for name in ("create", "stat", "read", "delete"))
AIMS = ()
RUNS = None
FILES, FILES_SHORT = 2000, 50


def run(peer, short):
    printed = peer.output("/usr/bin/guest-loops", "tree", f"{DATA}/tree",
                          str(FILES_SHORT if short else FILES))
    return {name: [value] for name, value in json.loads(printed).items()}

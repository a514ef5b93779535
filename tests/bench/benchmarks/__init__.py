"""The benchmarks of `tools/bench all`, one module each. A new one is a new file here, with

    ORDER    its place among the others
    NAME     file name of its plot and word for --only
    TITLE    what it is, in words
    NEEDS    the kind of peer that it can run on: peers.Peer (all) or peers.ContainerPeer
    FIGURES  the figures.Figures that it brings
    AIMS     figures.Aims, none or several
    RUNS     the most rounds that are worth their time, or None
    run(peer, short)
             runs once on the peer and answers {name of a figure: [its samples]}; `short` is the form
             for CI: small sizes, for the sake of running at all. Leaves nothing running.
"""

import importlib
import pkgutil


def load():
    """All of them, in their order."""
    modules = [importlib.import_module(f"{__name__}.{found.name}")
               for found in pkgutil.iter_modules(__path__) if not found.name.endswith("_test")]
    return sorted(modules, key=lambda module: module.ORDER)

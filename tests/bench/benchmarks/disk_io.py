"""Reads by fio from a root on a disk. The file is fio's own, new in each run: written and synced, then
dropped from the guest's page cache before each job, while the host's cache still has it."""

import json

from figures import Aim, Figure
from peers import Peer

ORDER = 7.5
NAME = "disk-io"
TITLE = "Reads from a root on a disk"
NEEDS = Peer
BLOCKS = {"4k": "4 KiB", "64k": "64 KiB", "1m": "1 MiB"}
PATTERNS = {"read": "sequential read", "randread": "random read"}
FIGURES = tuple(Figure(f"{pattern}_{block}", f"{what}, {size}", "MiB/s", higher_is_better=True)
                for pattern, what in PATTERNS.items() for block, size in BLOCKS.items())
# Of the same device in a bare QEMU.
AIMS = tuple(Aim(figure.name, peer, 0.8, of="floor")
             for figure in FIGURES for peer in ("cold", "template"))
# Fewer say more of the emulated machine's mood than of the path of a read.
RUNS = 15
SIZE_MIB, SIZE_MIB_SHORT = 64, 2
JOB_S = 5


def run(peer, short):
    printed = peer.output_on_disk("/usr/bin/fio", *arguments(SIZE_MIB_SHORT if short else SIZE_MIB))
    return {} if printed is None else rates(printed)


def arguments(mib):
    """One job after the other, all on one file."""
    common = ["--max-jobs=1", "--output-format=json", "--name=global", "--filename=/fio", "--ioengine=psync",
              "--thread=1", f"--size={mib}m", f"--runtime={JOB_S}", "--invalidate=1",
              "--norandommap=1", "--stonewall"]
    jobs = [[f"--name={pattern}_{block}", f"--rw={pattern}", f"--bs={block}"]
            for pattern in PATTERNS for block in BLOCKS]
    return [*common, *(argument for job in jobs for argument in job)]


def rates(printed):
    """fio's JSON: {job: [MiB/s]}. What it warns of may stand before."""
    report = json.loads(printed[printed.index(b"{"):])
    return {job["jobname"]: [job["read"]["bw_bytes"] / 2**20] for job in report["jobs"]}

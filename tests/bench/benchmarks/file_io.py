"""Reads and writes of large files by fio, through the page caches of guest and host. The files that are
read are new to the guest and in the host's cache, so that no disk is measured; written ones are not
synced, for the same reason."""

import json
import os

from figures import Aim, Figure
from peers import DATA, Peer

ORDER = 7
NAME = "file-io"
TITLE = "File I/O"
NEEDS = Peer
BLOCKS = {"4k": "4 KiB", "64k": "64 KiB", "1m": "1 MiB"}
PATTERNS = {"read": "sequential read", "randread": "random read", "write": "sequential write",
            "randwrite": "random write"}
FIGURES = tuple(Figure(f"{pattern}_{block}", f"{what}, {size}", "MiB/s", higher_is_better=True)
                for pattern, what in PATTERNS.items() for block, size in BLOCKS.items())
# Of the same device in a bare QEMU.
AIMS = tuple(Aim(figure.name, peer, 0.8, of="floor")
             for figure in FIGURES if "read" in figure.name for peer in ("cold", "template"))
RUNS = 5
SIZE_MIB, SIZE_MIB_SHORT = 64, 2
# A job ends after this even when it has not come to the end of its file.
JOB_S = 5
# thread, max-jobs: in one process with little memory. fallocate: a file grows as it is written.
# invalidate: nothing is dropped from the host's cache.
GLOBAL = """\
[global]
directory={data}
ioengine=psync
thread=1
size={mib}m
runtime={seconds}
invalidate=0
fallocate=none
norandommap=1
"""


def run(peer, short):
    mib = SIZE_MIB_SHORT if short else SIZE_MIB
    peer.data.joinpath("jobs.fio").write_text(job_file(mib))
    written = [peer.data / name for name in job_names() if "write" in name]
    for name in job_names():
        if "read" in name:
            _prepare(peer.data / name, mib)
    try:
        return rates(peer.output("/usr/bin/fio", "--max-jobs=1", "--output-format=json",
                                 f"{DATA}/jobs.fio"))
    finally:
        # Before the host writes them to its disk at the next peer's cost; each run makes new ones.
        for path in written:
            path.unlink(missing_ok=True)


def job_names():
    return [figure.name for figure in FIGURES]


def job_file(mib):
    """The jobs run one after the other, each on a file of its own."""
    jobs = [f"[{pattern}_{block}]\nstonewall\nfilename={pattern}_{block}\nrw={pattern}\nbs={block}\n"
            for pattern in PATTERNS for block in BLOCKS]
    return GLOBAL.format(data=DATA, mib=mib, seconds=JOB_S) + "".join(jobs)


def rates(printed):
    """fio's JSON: {job: [MiB/s]}. What it warns of may stand before."""
    report = json.loads(printed[printed.index(b"{"):])
    return {job["jobname"]: [job["write" if "write" in job["jobname"] else "read"]["bw_bytes"] / 2**20]
            for job in report["jobs"]}


def _prepare(path, mib):
    """A file to read, on the disk and in the host's cache."""
    if path.exists() and path.stat().st_size == mib << 20:
        path.read_bytes()
        return
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(bytes(range(256)) * (1 << 12))
        file.flush()
        os.fsync(file.fileno())

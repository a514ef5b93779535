"""containerd and ctr of newer Debian suites, unpacked beside each other and never installed: the tests
run against them, the product stays on this release's.

Packages are checked against Debian's keys, as apt checks everything. The newest suite moves: what it
has is what is tested.
"""

import shutil
import subprocess
from pathlib import Path

SUITES = ("trixie", "forky")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PROGRAMS = ("containerd", "ctr")


def directory(top, suite):
    """Where a suite's programs are, once they have been fetched."""
    return Path(top) / suite


def available(top, suite):
    """Whether they are there and run on this machine's C library."""
    program = directory(top, suite) / "containerd"
    return program.exists() and subprocess.run([program, "--version"], check=False,
                                               capture_output=True).returncode == 0


def fetch(run, top, suite):
    """Downloads what is not there yet; `run` executes a command line and raises on failure. Half a
    download leaves nothing that available() takes for a whole one."""
    if directory(top, suite).exists():
        return
    work = Path(top) / f"{suite}.part"
    shutil.rmtree(work, ignore_errors=True)
    (work / "lists/partial").mkdir(parents=True)
    (work / "cache/archives/partial").mkdir(parents=True)
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    settings = {"Dir::Etc::SourceList": work / "sources.list", "Dir::Etc::SourceParts": "/dev/null",
                "Dir::State::Lists": work / "lists", "Dir::Cache": work / "cache",
                # apt's own user cannot reach a build directory that is root's.
                "APT::Sandbox::User": "root"}
    options = [argument for name, value in settings.items() for argument in ("-o", f"{name}={value}")]
    run(["apt-get", "-q", *options, "--error-on=any", "update"], cwd=work)
    run(["apt-get", "-q", *options, "download", "containerd"], cwd=work)
    [package] = work.glob("containerd_*.deb")
    run(["dpkg-deb", "--extract", package, work / "tree"])
    unpacked = work / "programs"
    unpacked.mkdir()
    for name in PROGRAMS:
        (work / "tree/usr/bin" / name).rename(unpacked / name)
    unpacked.rename(directory(top, suite))
    shutil.rmtree(work)


def _mirror():
    """Debian's archive as this machine's apt knows it."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)",
                             "Created-By: Packages", "Component: main", "Label: Debian"],
                            check=True, capture_output=True, text=True).stdout.split()
    if not listed:
        raise LookupError("apt knows no archive of Debian")
    return listed[0]

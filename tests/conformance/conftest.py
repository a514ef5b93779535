"""Fixtures of the conformance suite: runc, and one pod of ours for all rows. See docs/testing.md."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tools/lib"), str(REPOSITORY / "tests/e2e")]

# pylint: disable=wrong-import-position
from harness.bundle import Bundles
from harness.pod import Pod
from harness.runc import Runc
from private_containerd import PrivateContainerd
from support import processes
from support.client import NAMESPACE
from support.events import EventStream
from support.kata import KataBuild, KataConfig
from support.leaks import LeakCheck, remove_namespace_cgroups
from support.shim import Messages, Shim

CLEAN_DEADLINE_S = 30


def pytest_addoption(parser):
    parser.addoption("--build", type=Path, default=REPOSITORY / "build",
                     help="Meson build directory with shim, probe and guest image (default: build)")
    parser.addoption("--guest", type=Path,
                     help="directory of another guest image (default: the build's guest/)")
    parser.addoption("--show", action="store_true", help="print what runc answers to each row")
    parser.addoption("--runtime", choices=("both", "runc"), default="both",
                     help="runc: only whether the rows say something of it")


@pytest.fixture(scope="session")
def session_directory():
    """Short, because Unix sockets live below it."""
    if os.geteuid() != 0:
        pytest.exit("the conformance tests start containers: run them as root", 2)
    directory = Path(tempfile.mkdtemp(prefix="kata-conf-", dir="/tmp"))
    directory.chmod(0o711)  # the root of a user namespace has to get through
    yield directory
    mounts = Path("/proc/self/mountinfo").read_text()
    assert f"{directory}/" not in mounts, f"not removed, because mounts are left below {directory}"
    shutil.rmtree(directory)
    remove_namespace_cgroups()


@pytest.fixture(scope="session")
def bundles(session_directory, pytestconfig):
    build = KataBuild.chosen(pytestconfig)
    return Bundles(session_directory / "b",
                   build.directory / "tests/conformance/guest/conformance-probe")


@pytest.fixture(scope="session")
def session_config(session_directory, pytestconfig):
    """As runc, which leaves nothing of a specification to somebody else."""
    return KataConfig(session_directory / "configuration.toml", session_directory / "k",
                      KataBuild.chosen(pytestconfig), template="off",
                      hypervisor={"disable_guest_apparmor": False, "disable_guest_selinux": False})


@pytest.fixture(scope="session")
def containerd(session_directory):
    """Takes the pod's events."""
    with PrivateContainerd(session_directory / "c") as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def leak_check(session_directory, containerd, session_config):
    """All rows together leave nothing on the host."""
    events = EventStream(containerd, NAMESPACE)
    leaks = LeakCheck(session_directory, containerd, events, session_config.state_root)
    leaks.begin()
    yield
    left = leaks.wait_clean(CLEAN_DEADLINE_S)
    if left:
        leaks.clean_by_force()
    events.close()
    assert not left, "left on the host:\n  " + "\n  ".join(left)


@pytest.fixture(scope="session")
def runc(leak_check, session_directory):
    return Runc(session_directory / "runc")


@pytest.fixture(scope="session")
def pod(leak_check, containerd, session_directory, session_config, pytestconfig):
    """Without a network namespace of the host: the guest's own has the loopback alone, as a new one
    under runc."""
    build = KataBuild.chosen(pytestconfig)
    if build.missing():
        pytest.fail(f"not built: {', '.join(build.missing())}", pytrace=False)
    environment = {**os.environ, "KATA_CONF_FILE": str(session_config.path),
                   "TTRPC_ADDRESS": f"{containerd.address}.ttrpc", "MAX_SHIM_VERSION": "2"}
    flags = ("-namespace", NAMESPACE, "-address", str(containerd.address))
    bundle = session_directory / "io.containerd.sandbox.controller.v1.shim" / NAMESPACE / "pod"
    shim = Shim(Messages(session_directory / "shim-proto"),
                build.shim_directory / "containerd-shim-kata-v2", environment, flags, "pod", bundle)
    # As containerd makes it: what the shim logs, and with it the guest's console.
    os.mkfifo(bundle / "log")
    log = session_directory / "pod.log"
    with (open(log, "wb") as output,
          subprocess.Popen(["cat", str(bundle / "log")], stdout=output) as reader):
        yield from _running_pod(shim, bundle, log)
        reader.kill()


def _running_pod(shim, bundle, log):
    try:
        shim.start()
        shim.sandbox("CreateSandbox", bundle_path=str(bundle))
        shim.sandbox("StartSandbox")
        yield Pod(shim, log)
        pid = shim.pid
        shim.sandbox("StopSandbox", timeout_secs=1)
        shim.sandbox("ShutdownSandbox")
        processes.wait_gone(pid, CLEAN_DEADLINE_S)
    finally:
        shim.delete()
        shim.close()

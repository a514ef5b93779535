"""containerd's sandbox API: a pod that is there without a container. The client is the tests' own,
because containerd 1.6 has none."""

import os
import subprocess

import pytest

from support import processes
from support.client import NAMESPACE
from support.kata import KataBuild
from support.shim import (CANCELLED, FAILED_PRECONDITION, NOT_FOUND, SANDBOX, TASK, Messages, Shim,
                          ShimError, container_bundle)

VM_END_DEADLINE_S = 10
BOOT_DEADLINE_S = 120
# The shim waits 10 s.
UNUSED_DEADLINE_S = 60
KILLED = 128 + 9


@pytest.fixture(scope="session")
def messages(session_directory):
    return Messages(session_directory / "shim-proto")


@pytest.fixture
def shim(kata, containerd, session_config, session_directory, messages, pytestconfig):
    """Of a sandbox "pod"; not started."""
    build = KataBuild.chosen(pytestconfig)
    environment = {**os.environ, "KATA_CONF_FILE": str(session_config.path),
                   "TTRPC_ADDRESS": f"{containerd.address}.ttrpc", "MAX_SHIM_VERSION": "2"}
    flags = ("-namespace", NAMESPACE, "-address", str(containerd.address))
    bundles = session_directory / "io.containerd.sandbox.controller.v1.shim" / NAMESPACE
    made = Shim(messages, build.shim_directory / "containerd-shim-kata-v2", environment, flags,
                "pod", bundles / "pod")
    yield made
    made.close()


@pytest.fixture
def bundle(session_directory):
    """bundle("c1", "sh", "-c", …): a container's."""
    directories = []

    def make(name, *command):
        directories.append(session_directory / "bundles" / name)
        return container_bundle(directories[-1], *command)
    yield make
    for directory in directories:
        subprocess.run(["rm", "-r", str(directory)], check=True)


@pytest.fixture
def network_namespace():
    name = f"{NAMESPACE}-pod"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "netns", "delete", name], check=True)


def _state(shim):
    return shim.sandbox("SandboxStatus").state


def _start_container(shim, bundle, output=""):
    name = bundle.name
    created = shim.task("Create", id=name, bundle=str(bundle),
                        stdout=output and f"file://{output}")
    assert created.pid == shim.sandbox("SandboxStatus").pid
    shim.task("Start", id=name)
    return name


def test_life_of_a_pod(shim, bundle, messages, network_namespace, leaks):
    shim.start()
    assert not os.path.exists(shim.bundle / "config.json")
    config = messages.pod_sandbox_config.PodSandboxConfig(hostname="web-1")
    shim.sandbox("CreateSandbox", bundle_path=str(shim.bundle), netns_path=network_namespace,
                 options={"type_url": "runtime.v1.PodSandboxConfig",
                          "value": config.SerializeToString()})
    assert _state(shim) == "SANDBOX_NOTREADY"
    assert not leaks.programs("qemu-system")

    started = shim.sandbox("StartSandbox")
    qemu = leaks.only("qemu-system")
    assert started.pid == qemu.pid
    inode = os.stat(network_namespace).st_ino
    assert os.stat(f"/proc/{qemu.pid}/ns/net").st_ino == inode
    assert (platform := shim.sandbox("Platform").platform).os == "linux" and platform.architecture
    shim.sandbox("PingSandbox")
    status = shim.sandbox("SandboxStatus", verbose=True)
    assert (status.state, status.pid) == ("SANDBOX_READY", qemu.pid)
    assert str(qemu.pid) in status.info["info"]
    assert _cpu_used(shim, messages) == 0

    # A container comes and goes; the pod stays.
    output = shim.bundle / "output"
    first = _start_container(shim, bundle("c1", "sh", "-c", "busybox hostname; exit 3"), output)
    assert shim.task("Wait", id=first).exit_status == 3
    assert output.read_text() == "web-1\n"
    assert shim.task("Delete", id=first).exit_status == 3
    shim.task("Shutdown", id=first)
    shim.task("Shutdown", id=first, now=True)
    assert _state(shim) == "SANDBOX_READY"
    assert _cpu_used(shim, messages) > 0

    # The second ignores SIGTERM, as an init without a handler does.
    second = _start_container(shim, bundle("c2", "busybox", "sleep", "1000"))
    container_end = shim.begin(TASK, "Wait", id=second)
    pod_end = shim.begin(SANDBOX, "WaitSandbox", sandbox_id=shim.id)
    shim.sandbox("StopSandbox", timeout_secs=1)
    assert shim.finish(container_end).exit_status == KILLED
    ended = shim.finish(pod_end)
    assert ended.exit_status == 0
    status = shim.sandbox("SandboxStatus")
    assert (status.state, status.exited_at) == ("SANDBOX_NOTREADY", ended.exited_at)
    assert not leaks.programs("qemu-system") and not leaks.programs("virtiofsd")
    assert shim.error("PingSandbox") == FAILED_PRECONDITION
    shim.sandbox("StopSandbox")
    assert shim.task("Delete", id=second).exit_status == KILLED
    _shut_down(shim)


def _cpu_used(shim, messages):
    """Of all containers that were and are, in microseconds."""
    metrics = shim.sandbox("SandboxMetrics").metrics
    assert metrics.id == shim.id
    assert metrics.data.type_url == "io.containerd.cgroups.v2.Metrics"
    return messages.cgroup_metrics.Metrics.FromString(metrics.data.value).cpu.usage_usec


def _shut_down(shim):
    """As containerd does: asks, and calls `delete` when the connection has ended."""
    pid = shim.pid
    shim.sandbox("ShutdownSandbox")
    processes.wait_gone(pid, VM_END_DEADLINE_S)
    shim.delete()


def test_qemu_killed(shim, bundle, leaks):
    shim.start()
    shim.sandbox("CreateSandbox", bundle_path=str(shim.bundle))
    shim.sandbox("StartSandbox")
    container = _start_container(shim, bundle("c1", "busybox", "sleep", "1000"))
    pod_end = shim.begin(SANDBOX, "WaitSandbox", sandbox_id=shim.id)
    processes.kill(leaks.only("qemu-system"))
    assert shim.finish(pod_end, VM_END_DEADLINE_S).exit_status == KILLED
    assert _state(shim) == "SANDBOX_NOTREADY"
    assert shim.task("Wait", id=container).exit_status == KILLED
    shim.sandbox("StopSandbox")
    assert shim.task("Delete", id=container).exit_status == KILLED
    _shut_down(shim)


def test_shim_killed_without_a_container(shim, leaks):
    """What `delete` finds is QEMU, virtiofsd, sockets and the state."""
    shim.start()
    shim.sandbox("CreateSandbox", bundle_path=str(shim.bundle))
    shim.sandbox("StartSandbox")
    qemu = leaks.only("qemu-system")
    processes.kill(leaks.only("containerd-shim"))
    deleted = shim.delete()
    assert (deleted.pid, deleted.exit_status) == (qemu.pid, KILLED)
    assert not leaks.processes()
    shim.delete()


def test_stop_during_the_boot(shim, leaks):
    shim.start()
    shim.sandbox("CreateSandbox", bundle_path=str(shim.bundle))
    boot = shim.begin(SANDBOX, "StartSandbox", sandbox_id=shim.id)
    assert leaks.wait_for_start("qemu-system", BOOT_DEADLINE_S), "QEMU was not started"
    shim.sandbox("StopSandbox", timeout_secs=1)
    with pytest.raises(ShimError) as refused:
        shim.finish(boot)
    assert refused.value.code == CANCELLED
    assert _state(shim) == "SANDBOX_NOTREADY"
    assert not leaks.programs("qemu-system")
    _shut_down(shim)


def test_pod_that_cannot_be_created(shim):
    shim.start()
    assert shim.error("StartSandbox") == NOT_FOUND
    assert shim.error("CreateSandbox", bundle_path=str(shim.bundle),
                      netns_path="/run/netns/none") == NOT_FOUND
    # As containerd does when a CreateSandbox fails.
    _shut_down(shim)


def test_bundle_that_is_no_bundle(shim):
    (shim.bundle / "config.json").write_text("{")
    assert "config.json" in shim.start_error()
    assert not (shim.bundle / "address").exists()


def test_delete_whose_client_has_gone(shim, bundle):
    """containerd gives such a Delete up, never asks for the shim's end and stays connected."""
    shim.start()
    shim.task("Create", id="c1", bundle=str(bundle("c1", "sh", "-c", "exit 3")))
    shim.task("Start", id="c1")
    assert shim.task("Wait", id="c1").exit_status == 3
    pid = shim.pid
    shim.task("Delete", id="c1")
    processes.wait_gone(pid, UNUSED_DEADLINE_S)

"""The same container through each way of starting its VM."""

import os

import pytest

from support import processes
from support.libvirtd import Libvirtd


@pytest.fixture
def libvirtd(leak_check, session_directory):
    with Libvirtd(session_directory / "v") as daemon:
        yield daemon


def _run_and_look(kata, leaks):
    """Runs a container: (whether libvirt started its QEMU, QEMU's mount namespace)."""
    with kata.session("sh", "-c", "uname -r; echo ready; read unused || exit 42") as session:
        [kernel] = session.read_until("ready")
        [qemu] = [process for process in leaks.processes()
                  if process.program.startswith("qemu-system")]
        started_by_libvirt = any("masterKey0" in argument for argument in qemu.argv)
        namespace = os.readlink(f"/proc/{qemu.pid}/ns/mnt")
        outcome = session.finish()
    assert outcome.status == 42, outcome
    assert kernel != os.uname().release
    return started_by_libvirt, namespace


def test_direct(kata, kata_config, leaks):
    kata_config.change(hypervisor={"launcher": "direct"})
    started_by_libvirt, _ = _run_and_look(kata, leaks)
    assert not started_by_libvirt


def test_libvirt_embedded(kata, kata_config, leaks):
    kata_config.change(hypervisor={"launcher": "libvirt", "libvirt_uri": "qemu:///embed"})
    started_by_libvirt, namespace = _run_and_look(kata, leaks)
    assert started_by_libvirt
    assert namespace == os.readlink("/proc/self/ns/mnt")


def test_libvirt_system_daemon(kata, kata_config, leaks, libvirtd):
    kata_config.change(hypervisor={"launcher": "libvirt", "libvirt_uri": libvirtd.uri})
    started_by_libvirt, namespace = _run_and_look(kata, leaks)
    assert started_by_libvirt
    assert namespace == libvirtd.mount_namespace, "QEMU is not the daemon's"
    assert libvirtd.domains() == []


def test_libvirt_daemon_is_not_there(kata, kata_config):
    uri = "qemu:///system?socket=/no/such/libvirt-sock"
    kata_config.change(hypervisor={"launcher": "libvirt", "libvirt_uri": uri})
    outcome = kata.run("true")
    assert outcome.status == 1, outcome
    assert "libvirt" in outcome.error and "/no/such/libvirt-sock" in outcome.error, outcome

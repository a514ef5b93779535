"""The same container through each way of starting its VM."""

import os
from dataclasses import dataclass

import pytest

from support.libvirtd import Libvirtd, mount_namespace


@dataclass(frozen=True)
class Launch:
    """What tells the launchers apart, seen from the host while the container runs."""
    by_libvirt: bool
    namespace: str  # of mounts, QEMU's
    shim_namespace: str


@pytest.fixture
def launch(kata, kata_config, leaks):
    """launch(launcher=…): runs a container under these settings of the hypervisor."""
    def run(**settings):
        kata_config.change(hypervisor=settings, factory={"template": "off"})
        with kata.session("sh", "-c", "uname -r; echo ready; read unused || exit 42") as session:
            [kernel] = session.read_until("ready")
            qemu, shim = leaks.only("qemu-system"), leaks.only("containerd-shim")
            # libvirt hands every QEMU a master key; nobody else does.
            seen = Launch(any("masterKey0" in argument for argument in qemu.argv),
                          mount_namespace(qemu.pid), mount_namespace(shim.pid))
            outcome = session.finish()
        assert outcome.status == 42, outcome
        assert kernel != os.uname().release
        return seen
    return run


@pytest.fixture
def libvirtd(leak_check, session_directory):
    with Libvirtd(session_directory / "v") as daemon:
        yield daemon


def test_direct(launch):
    seen = launch(launcher="direct")
    assert not seen.by_libvirt
    assert seen.namespace == seen.shim_namespace


def test_libvirt_embedded(launch):
    seen = launch(launcher="libvirt", libvirt_uri="qemu:///embed")
    assert seen.by_libvirt
    assert seen.namespace == seen.shim_namespace


def test_libvirt_system_daemon(launch, libvirtd):
    seen = launch(launcher="libvirt", libvirt_uri=libvirtd.uri)
    assert seen.by_libvirt
    assert seen.namespace == libvirtd.mount_namespace, "QEMU is not the daemon's child"
    assert libvirtd.domains() == []


def test_libvirt_daemon_is_not_there(kata, kata_config):
    uri = "qemu:///system?socket=/no/such/libvirt-sock"
    kata_config.change(hypervisor={"launcher": "libvirt", "libvirt_uri": uri},
                       factory={"template": "off"})
    outcome = kata.run("true")
    assert outcome.status == 1, outcome
    assert "connect socket to '/no/such/libvirt-sock'" in outcome.error, outcome

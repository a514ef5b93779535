"""A VM that does not come up: the message names the stage and the cause, and nothing is left."""

import os
import re
from pathlib import Path

import pytest

from support.kata import write_initrd

MISSING = "/no/such/directory/file"


@pytest.fixture
def failure(kata, kata_config):
    """failure(hypervisor={…}): the message with which ctr run ends under these settings."""
    def fail(**changes):
        kata_config.change(**changes)
        outcome = kata.run("true")
        assert outcome.status == 1, outcome
        return outcome.error
    return fail


@pytest.mark.parametrize("key, what", [("path", "qemu"), ("kernel", "kernel"),
                                       ("initrd", "initrd|initramfs"),
                                       ("virtio_fs_daemon", "virtiofsd|virtio_fs_daemon")])
def test_missing_file(failure, key, what):
    message = failure(hypervisor={key: MISSING})
    assert MISSING in message
    assert re.search(what, message, re.IGNORECASE), message


def test_guest_panics(failure, session_directory):
    """The last lines of the console say why."""
    initrd = write_initrd(session_directory / "panics.img", "echo the init of this test; exit 3")
    message = failure(hypervisor={"initrd": str(initrd)})
    assert "the init of this test" in message
    assert "Kernel panic" in message
    assert "Attempted to kill init" in message


def test_agent_never_answers(failure, session_directory):
    initrd = write_initrd(session_directory / "sleeps.img",
                          "echo no agent here; exec /bin/busybox sleep 1000")
    message = failure(hypervisor={"initrd": str(initrd)}, agent={"dial_timeout": 7})
    assert "agent" in message
    assert re.search(r"\b7 ?s", message), message
    assert "dial_timeout" in message, "the remedy is not named"
    # How far the guest has come by then depends on the machine.
    assert "console" in message, "the console's last lines are not there"


def test_not_enough_memory(failure):
    host_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    asked_mib = host_mib * 8
    message = failure(hypervisor={"default_memory": asked_mib})
    assert str(asked_mib) in message
    assert re.search("memory", message, re.IGNORECASE), message


def test_qemu_refuses_its_arguments(failure):
    message = failure(hypervisor={"machine_type": "no-such-machine"})
    assert "no-such-machine" in message


def test_unknown_key(failure, kata_config):
    message = failure(hypervisor={"default_memroy": 256})
    assert "default_memroy" in message
    assert "default_memory" in message, "the nearest known key is not named"
    assert str(kata_config.path) in message


def test_configuration_that_is_no_toml(kata, kata_config):
    kata_config.path.write_text("[hypervisor.qemu\npath = 1\n")
    outcome = kata.run("true")
    assert outcome.status == 1, outcome
    assert str(kata_config.path) in outcome.error


def test_missing_configuration(kata, kata_config):
    Path(kata_config.path).unlink()
    outcome = kata.run("true")
    assert outcome.status == 1, outcome
    assert str(kata_config.path) in outcome.error

"""The leak check sees what it is there for."""

import os
import socket
import subprocess

import pytest

from support.leaks import NETNS_DIRECTORY, SHIM_SOCKETS


def _kinds(leaks):
    return {line.partition(":")[0] for line in leaks.leftovers()}


def test_running_container(runc, leaks):
    container = runc.start("sleep", "1000")
    assert _kinds(leaks) == {"process", "mount", "state directory", "cgroup", "task", "container",
                             "snapshot"}
    runc.remove(container)


@pytest.mark.parametrize("name", ["{directory}/left.sock", "\0{directory}/abstract"])
def test_listening_socket(leaks, session_directory, name):
    path = name.format(directory=session_directory)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert _kinds(leaks) == {"listening socket"}
    if not path.startswith("\0"):
        os.unlink(path)


def test_socket_of_a_dead_shim(leaks, session_directory):
    path = SHIM_SOCKETS / session_directory.name
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert _kinds(leaks) == {"socket that nobody serves"}
    path.unlink()


def test_state_directory_and_network_namespace(leaks, session_config, session_directory):
    state = session_config.state_root / "0123456789abcdef"
    state.mkdir(parents=True)
    NETNS_DIRECTORY.mkdir(exist_ok=True)
    netns = NETNS_DIRECTORY / session_directory.name
    netns.touch()
    assert _kinds(leaks) == {"state directory", "network namespace"}
    state.rmdir()
    netns.unlink()


def test_mount_in_a_namespace_of_its_own(leaks, session_directory):
    """Nothing of it is seen in the host's mount table."""
    target = session_directory / "mounted"
    target.mkdir()
    # No exec after the word: meanwhile /proc shows neither arguments nor environment.
    script = 'mount -t tmpfs none "$TARGET" && echo done && read unused'
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE,
                          env={**os.environ, "TARGET": str(target)}) as process:
        process.stdout.readline()
        found = leaks.leftovers()
        process.kill()
    assert any(line.startswith("mount:") and str(target) in line for line in found), found
    target.rmdir()


def test_waits_for_a_process_that_ends(leaks, session_directory):
    argv = ["sh", "-c", "echo up; read unused", str(session_directory)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        # In the midst of its execve /proc shows no arguments yet.
        process.stdout.readline()
        assert leaks.wait_clean(0.1)
        process.stdin.close()
        assert leaks.wait_clean(10) == []

"""Calls of containerd's Tasks service that ctr has no words for: codes, messages and what is said of
a process in each of its states."""

import grpc
import pytest

from support.tasks import WRONG_STATE, oci

CREATED, RUNNING, STOPPED = 1, 2, 3
NOT_STARTED_AT = -62135596800  # Go's zero time
PROCESS = {"args": ["sh", "-c", "exit 3"], "cwd": "/", "user": {"uid": 0, "gid": 0},
           "env": ["PATH=/bin"]}


@pytest.fixture
def container(client):
    started = client.start("sleep", "1000")
    yield started
    client.remove(started)


def _process(script, **changes):
    return PROCESS | {"args": ["sh", "-c", script]} | changes


def _get(tasks, container, exec_id=""):
    return tasks.call("Get", container_id=container, exec_id=exec_id).process


def _assert_wrong_state(error, words):
    code, message = error
    assert code in WRONG_STATE
    assert message.startswith(words), message


def _run(tasks, container, exec_id, process):
    """To its end, without a client at its stdio: its exit code."""
    tasks.exec(container, exec_id, process)
    tasks.call("Start", container_id=container, exec_id=exec_id)
    status = tasks.call("Wait", container_id=container, exec_id=exec_id).exit_status
    tasks.call("DeleteProcess", container_id=container, exec_id=exec_id)
    return status


def test_life_of_an_exec(client, container, tasks):
    name = {"container_id": container, "exec_id": "x"}
    tasks.exec(container, "x", PROCESS)
    created = _get(tasks, container, "x")
    assert (created.id, created.pid, created.status) == ("x", 0, CREATED)
    assert client.task_processes(container) and "x" not in client.task_processes(
        container).values()
    assert tasks.error("Kill", signal=15, **name) == (
        grpc.StatusCode.FAILED_PRECONDITION, "process not created: failed precondition")
    pid = tasks.call("Start", **name).pid
    waited = tasks.call("Wait", **name)
    stopped = _get(tasks, container, "x")
    assert pid == stopped.pid > 0
    assert (stopped.status, stopped.exit_status) == (STOPPED, 3)
    assert waited.exit_status == 3 and waited.exited_at == stopped.exited_at
    _assert_wrong_state(tasks.error("Start", **name), "cannot start a stopped process")
    deleted = tasks.call("DeleteProcess", **name)
    assert (deleted.id, deleted.pid, deleted.exit_status) == ("x", pid, 3)
    assert deleted.exited_at == waited.exited_at


def test_running_processes(client, container, tasks):
    tasks.exec(container, "x", _process("exec sleep 1000"))
    tasks.call("Start", container_id=container, exec_id="x")
    for exec_id in ("", "x"):
        running = _get(tasks, container, exec_id)
        assert (running.id, running.status) == (exec_id or container, RUNNING)
        assert running.pid > 0 and running.exited_at.seconds == NOT_STARTED_AT
    _assert_wrong_state(tasks.error("Start", container_id=container),
                        "cannot start a running process")
    _assert_wrong_state(tasks.error("Start", container_id=container, exec_id="x"),
                        "cannot start a running process")
    _assert_wrong_state(tasks.error("DeleteProcess", container_id=container, exec_id="x"),
                        "cannot delete a running process")


def test_exec_that_is_never_started(client, container, tasks):
    """May be deleted, or forgotten with its container."""
    tasks.exec(container, "x", PROCESS)
    tasks.call("DeleteProcess", container_id=container, exec_id="x")
    tasks.exec(container, "x", PROCESS)


def test_exec_that_ended_with_the_container(client, container, tasks):
    """Its end can be asked for until the container is deleted."""
    tasks.exec(container, "x", _process("exec sleep 1000"))
    tasks.call("Start", container_id=container, exec_id="x")
    tasks.call("Kill", container_id=container, signal=9)
    assert tasks.call("Wait", container_id=container).exit_status == 128 + 9
    assert tasks.call("Wait", container_id=container, exec_id="x").exit_status == 128 + 9
    assert _get(tasks, container, "x").status == STOPPED


@pytest.mark.parametrize("method", ["Get", "Wait", "Start", "Kill", "ResizePty", "CloseIO",
                                    "DeleteProcess"])
def test_unknown_exec(client, container, tasks, method):
    fields = {"Kill": {"signal": 9}, "ResizePty": {"width": 80, "height": 24},
              "CloseIO": {"stdin": True}}.get(method, {})
    assert tasks.error(method, container_id=container, exec_id="x", **fields) == (
        grpc.StatusCode.NOT_FOUND, "process does not exist x: not found")


def test_used_exec_id(client, container, tasks):
    tasks.exec(container, "x", PROCESS)
    assert tasks.error("Exec", container_id=container, exec_id="x",
                       spec=oci("Process", PROCESS)) == (
        grpc.StatusCode.ALREADY_EXISTS, "id x: already exists")


def test_spec_that_is_no_json(client, container, tasks):
    """Nothing is added by it."""
    spec = oci("Process", PROCESS) | {"value": b"{not json"}
    assert tasks.error("Exec", container_id=container, exec_id="x", spec=spec)
    assert _run(tasks, container, "x", PROCESS) == 3


def test_no_spec(kata, tasks):
    """Ours alone: runc's shim of containerd 1.6 crashes of it."""
    container = kata.start("sleep", "1000")
    code, _ = tasks.error("Exec", container_id=container, exec_id="x")
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    kata.remove(container)


@pytest.mark.parametrize("exec_id", ["", "x"])
def test_process_without_a_terminal(client, container, tasks, exec_id):
    """A size is not for it, and does no harm; so is the end of a stdin that it has not."""
    if exec_id:
        tasks.exec(container, exec_id, _process("exec sleep 1000"))
        tasks.call("Start", container_id=container, exec_id=exec_id)
    tasks.call("ResizePty", container_id=container, exec_id=exec_id, width=80, height=24)
    for _ in range(2):
        tasks.call("CloseIO", container_id=container, exec_id=exec_id, stdin=True)
    assert _get(tasks, container, exec_id).status == RUNNING


# What the process of an exec asks for itself, and how it shows: the exit code is that of `test`.
ASKED = {
    "user and groups": ({"user": {"uid": 65534, "gid": 100, "additionalGids": [7, 4242]}},
                        '[ "$(id -u) $(id -g) $(id -G)" = "65534 100 100 7 4242" ]'),
    "environment": ({"env": ["PATH=/bin", "UTF8=grüße €", "EMPTY="]},
                    '[ "$UTF8" = "grüße €" ] && [ "${EMPTY-unset}" = "" ]'),
    "cwd": ({"cwd": "/tmp"}, '[ "$(pwd)" = /tmp ]'),
    "capabilities": ({"capabilities": {name: ["CAP_KILL"] for name in (
        "bounding", "permitted", "effective")}},
        '[ "$(grep -c -E "^Cap(Prm|Eff|Bnd).*0000000000000020$" /proc/self/status)" = 3 ]'),
    "no capabilities": ({"capabilities": {}},
                        '[ "$(grep -c -E "^Cap(Prm|Eff|Bnd).*0000000000000000$" '
                        '/proc/self/status)" = 3 ]'),
    "no new privileges": ({"noNewPrivileges": True},
                          "grep -q 'NoNewPrivs:.1' /proc/self/status"),
    "limits": ({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 300},
                            {"type": "RLIMIT_CORE", "soft": 0, "hard": 1 << 20}]},
               '[ "$(ulimit -Hn) $(ulimit -Sc) $(ulimit -Hc)" = "300 0 2048" ]'),
    "namespaces": ({}, '[ "$(readlink /proc/self/ns/mnt)" = "$(readlink /proc/1/ns/mnt)" ] && '
                       '[ "$(readlink /proc/self/ns/pid)" = "$(readlink /proc/1/ns/pid)" ] && '
                       '[ "$(readlink /proc/self/ns/net)" = "$(readlink /proc/1/ns/net)" ]'),
    "cgroup": ({}, '[ "$(cat /proc/self/cgroup)" = "$(cat /proc/1/cgroup)" ]'),
    "own session": ({}, '[ "$(awk \'{ print $6 }\' /proc/$$/stat)" = $$ ]'),
    # ls has one more, the directory.
    "no other files": ({}, 'ls /proc/self/fd > /tmp/fds; [ "$(echo $(cat /tmp/fds))" = "0 1 2 3" ]'),
}


@pytest.mark.parametrize("what", ASKED)
def test_what_an_exec_asks_for(client, container, tasks, what):
    """Not its umask and its oomScoreAdj: runc's execs have those of their container."""
    changes, script = ASKED[what]
    assert _run(tasks, container, "x", _process(script, **changes)) == 0


def test_checkpoint(kata, tasks):
    """Not for a VM."""
    container = kata.start("sleep", "1000")
    code, _ = tasks.error("Checkpoint", container_id=container)
    assert code == grpc.StatusCode.UNIMPLEMENTED
    assert kata.exec(container, "true").status == 0
    kata.remove(container)

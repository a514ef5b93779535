"""A paused container stands still, and is the same again when it is resumed."""

import os

import pytest

EXIT_DEADLINE_S = 60
COUNTER = "trap 'exit 5' TERM; i=0; while :; do echo $((i += 1)); usleep 1000; done"


@pytest.fixture
def container(client):
    started = client.start("sh", "-c",
                           "trap 'exit 5' TERM; > /tmp/ready; while :; do sleep 0.1; done")
    # Before its trap the shell, pid 1, takes no SIGTERM.
    client.exec_sh(started, "until [ -e /tmp/ready ]; do sleep 0.1; done")
    yield started
    client.remove(started)


def _status(client):
    return [row[2] for row in client.task_rows()]


def _pause(client, container):
    outcome = client.ctr("tasks", "pause", container)
    assert outcome.status == 0, outcome


def _resume(client, container):
    outcome = client.ctr("tasks", "resume", container)
    assert outcome.status == 0, outcome


def test_state_and_events(client, container, events):
    _pause(client, container)
    assert _status(client) == ["PAUSED"]
    assert events.wait_for("/tasks/paused", container, EXIT_DEADLINE_S).payload == {
        "container_id": container}
    _resume(client, container)
    assert _status(client) == ["RUNNING"]
    assert events.wait_for("/tasks/resumed", container, EXIT_DEADLINE_S).payload == {
        "container_id": container}
    assert events.topics_of(container)[-2:] == ["/tasks/paused", "/tasks/resumed"]


def test_counter_stands_still(client):
    """When pause has answered, nothing is written any more: what was on its way is read until
    nothing comes, and `ctr tasks ls` twice is time enough for a thousand more."""
    with client.session("sh", "-c", COUNTER) as session:
        session.read_until("10")
        _pause(client, session.container)
        before = _last_line(session) or "10"
        assert _status(client) == _status(client) == ["PAUSED"]
        assert _last_line(session) in (None, before)
        _resume(client, session.container)
        # Not one is lost, not one comes twice.
        session.read_until(str(int(before) + 1))
        assert client.ctr("tasks", "kill", session.container).status == 0
        assert session.finish().status == 5


def _last_line(session):
    """Of what has arrived by the time that nothing has come for a while."""
    lines = session.drain(quiet_s=0.5).split(b"\n")[:-1]
    return lines[-1].decode() if lines else None


def test_execs_stand_still(client, container):
    with client.exec_session(container, "sh", "-c", COUNTER) as session:
        session.read_until("10")
        _pause(client, container)
        before = _last_line(session) or "10"
        assert _last_line(session) in (None, before)
        _resume(client, container)
        session.read_until(str(int(before) + 1))
        assert client.ctr("tasks", "kill", "--exec-id", session.process_id, container).status == 0
        assert session.finish().status == 5


def test_processes_are_shown(client, container):
    _pause(client, container)
    assert client.task_processes(container)
    _resume(client, container)


def test_exec_is_refused(client, container, events):
    """With no event: no exec was added."""
    _pause(client, container)
    outcome = client.exec(container, "true", exec_id="x")
    assert outcome.status == 1 and "cannot exec in a paused state" in outcome.error, outcome
    _resume(client, container)
    assert client.exec(container, "true", exec_id="y").status == 0
    assert events.topics_of(container, "x") == []


@pytest.mark.parametrize("pauses, command, message", [
    (1, "pause", "cannot pause a paused container"),
    (0, "resume", "cannot resume a running process")])
def test_twice(client, container, pauses, command, message):
    for _ in range(pauses):
        _pause(client, container)
    outcome = client.ctr("tasks", command, container)
    assert outcome.status == 1 and message in outcome.error, outcome


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_stopped_container(client, container, events, command):
    client.ctr("tasks", "kill", "-s", "SIGKILL", container)
    events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    outcome = client.ctr("tasks", command, container)
    assert outcome.status == 1, outcome
    assert f"cannot {command} a stopped container" in outcome.error, outcome


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_created_container(client, command):
    """A created task knows neither."""
    container = client.new_id()
    assert client.ctr(*client.create_args(container, ("true",))).status == 0
    outcome = client.ctr("tasks", command, container)
    assert outcome.status == 1 and "no running task found" in outcome.error, outcome
    client.remove(container)


def test_sigkill_ends_a_paused_container(client, container, events):
    _pause(client, container)
    assert client.ctr("tasks", "kill", "-s", "SIGKILL", container).status == 0
    ended = events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    assert ended.payload["exit_status"] == 128 + 9
    assert _status(client) == ["STOPPED"]
    assert "/tasks/resumed" not in events.topics_of(container)


def test_sigterm_waits_for_the_resume(client, container, events):
    _pause(client, container)
    assert client.ctr("tasks", "kill", container).status == 0
    assert _status(client) == ["PAUSED"]
    assert "/tasks/exit" not in events.topics_of(container, container)
    _resume(client, container)
    ended = events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    assert ended.payload["exit_status"] == 5


def test_forced_removal(client):
    container = client.start("sleep", "1000")
    _pause(client, container)
    client.remove(container)


def test_stdin_waits(client):
    """What is sent meanwhile is there afterwards."""
    with client.session("sh", "-c", "echo up; read word; echo got $word; exit 3") as session:
        session.read_until("up")
        _pause(client, session.container)
        os.write(session.process.stdin.fileno(), b"on\n")
        assert session.drain(quiet_s=0.2) == b""
        _resume(client, session.container)
        outcome = session.finish()
    assert (outcome.status, outcome.text) == (3, "got on\n"), outcome

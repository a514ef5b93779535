"""A reader that has stopped stops only the process that writes to it."""

import pytest

EXIT_DEADLINE_S = 60
# Far more than a machine that is busy needs, far less than for ever.
ANSWER_DEADLINE_S = 60
FLOOD = ["sh", "-c", "echo up; exec cat /dev/zero"]
FLOODS = 3


@pytest.fixture
def container(client):
    started = client.start("sleep", "1000")
    yield started
    client.remove(started)


def _answers(client, container):
    """What others may want of the same container meanwhile."""
    listed = client.ctr("tasks", "ls", deadline_s=ANSWER_DEADLINE_S)
    assert listed.status == 0 and container in listed.text, listed
    shown = client.ctr("tasks", "ps", container, deadline_s=ANSWER_DEADLINE_S)
    assert shown.status == 0, shown
    other = client.exec_sh(container, "cat; echo out; echo err >&2; exit 5", input=b"in\n",
                           deadline_s=ANSWER_DEADLINE_S)
    assert (other.status, other.text, other.error) == (5, "in\nout\n", "err\n"), other


def _full(session):
    """Reads until the line `up` and nothing more: soon every buffer on the way is full."""
    session.read_until("up")


def test_exec_that_floods(client, container):
    with client.exec_session(container, *FLOOD) as session:
        _full(session)
        for _ in range(3):
            _answers(client, container)
        killed = client.ctr("tasks", "kill", "--exec-id", session.process_id, "-s", "SIGKILL",
                            container, deadline_s=ANSWER_DEADLINE_S)
        assert killed.status == 0, killed
        assert session.finish().status == 128 + 9


def test_init_that_floods(client):
    with client.session(*FLOOD) as session:
        _full(session)
        _answers(client, session.container)
        killed = client.ctr("tasks", "kill", "-s", "SIGKILL", session.container,
                            deadline_s=ANSWER_DEADLINE_S)
        assert killed.status == 0, killed
        assert session.finish().status == 128 + 9


def test_several_floods_at_once(client, container):
    sessions = [client.exec_session(container, *FLOOD) for _ in range(FLOODS)]
    for session in sessions:
        _full(session)
    _answers(client, container)
    for session in sessions:
        client.ctr("tasks", "kill", "--exec-id", session.process_id, "-s", "SIGKILL", container)
    assert [session.finish().status for session in sessions] == [128 + 9] * FLOODS


def test_terminal_that_nobody_reads(client, container):
    with client.exec_terminal(container, "sh", "-c", "echo up; exec yes") as terminal:
        terminal.expect("^up$")
        _answers(client, container)
        client.ctr("tasks", "kill", "--exec-id", terminal.process_id, "-s", "SIGKILL", container)
        assert terminal.finish()[0] == 128 + 9


def test_process_that_does_not_read_its_stdin(client, container):
    """The writer stops as well, and the rest goes on."""
    with client.exec_session(container, "sh", "-c", "echo up; exec sleep 1000") as session:
        session.read_until("up")
        session.fill_stdin()
        _answers(client, container)
        client.ctr("tasks", "kill", "--exec-id", session.process_id, "-s", "SIGKILL", container)
        assert session.process.wait(ANSWER_DEADLINE_S) == 128 + 9


def test_container_is_removed_while_nobody_reads(client):
    container = client.start("sleep", "1000")
    with client.exec_session(container, *FLOOD) as session:
        _full(session)
        client.remove(container)
        session.finish()


def test_exit_of_one_whose_output_nobody_reads(client, container, events):
    """Its exit is told, although its last bytes are still on their way."""
    script = "echo up; head -c 1000000 /dev/zero & sleep 1; kill -KILL $$"
    with client.exec_session(container, "sh", "-c", script) as session:
        _full(session)
        ended = events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S, session.process_id)
        assert ended.payload["exit_status"] == 128 + 9
        assert session.finish().status == 128 + 9

"""The commands of ctr about tasks: what they say and when, with ours as with runc."""

import re
import signal
import subprocess

from support.client import NAMESPACE

EXIT_DEADLINE_S = 60
# Commands in order; {id} is the container's.
LIFE_OF_A_TASK = """
    tasks ls
    tasks start --detach {id}
    tasks ls
    tasks ps {id}
    tasks start --detach {id}
    tasks rm {id}
    containers rm {id}
    tasks kill -s SIGTERM {id}
    wait
    tasks ls
    tasks kill {id}
    tasks start --detach {id}
    tasks rm {id}
    tasks rm {id}
    tasks kill {id}
    tasks ls
    containers ls
    containers rm {id}
    containers rm {id}
    containers ls
"""
# As pid 1 it dies of no signal that it does not handle: the exit code shows that the signal came.
HANDLES_SIGTERM = 'trap "exit 7" TERM; while :; do sleep 1; done'


def test_commands_answer_as_with_runc(runc, kata, events):
    assert _transcript(kata, events) == _transcript(runc, events)


def test_runc_answers_as_documented(runc, events):
    """Pins the reference: were it empty, the comparison would say nothing."""
    answers = _transcript(runc, events)
    command, (status, _, error) = answers[5]
    assert (command, status) == ("tasks rm <id>", 1)
    assert "must be stopped before deletion" in error
    assert answers[8] == ("wait", 7)


def _transcript(client, events):
    """[(command, (status, stdout, stderr))], with what differs by nature replaced."""
    container = client.new_id()
    created = client.ctr(*client.create_args(container, ("sh", "-c", HANDLES_SIGTERM)))
    assert created.status == 0, created
    answers = []
    for line in LIFE_OF_A_TASK.split("\n")[1:-1]:
        command = line.strip().replace("{id}", container)
        if command == "wait":
            answer = events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S).payload.get(
                "exit_status", 0)
        else:
            outcome = client.ctr(*command.split())
            answer = (outcome.status, _neutral(outcome.text, container),
                      _neutral(outcome.error, container))
        answers.append((command.replace(container, "<id>"), answer))
    return answers


def _neutral(text, container):
    for pattern, replacement in ((re.escape(container), "<id>"), (r"io\.containerd\.\S+", "<type>"),
                                 (r'time="[^"]*"', "<time>"), (r"\b\d{2,}\b", "<pid>"),
                                 (r" +", " "), ("(<pid> -\n)+", "<pid> -\n")):
        text = re.sub(pattern, replacement, text)
    return text


def test_killed_from_outside(client, events):
    container = client.start("sleep", "1000")
    [(name, pid, status)] = client.task_rows()
    assert (name, status) == (container, "RUNNING")
    killed = client.ctr("tasks", "kill", "-s", "SIGKILL", container)
    assert killed.status == 0, killed
    ended = events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    assert ended.payload["exit_status"] == 128 + signal.SIGKILL
    assert client.task_rows() == [(container, pid, "STOPPED")]
    client.remove(container)


def test_init_ignores_signals_it_does_not_handle(client):
    with client.session("sh", "-c", "echo up; read word; echo got $word; exit 3") as session:
        session.read_until("up")
        assert client.ctr("tasks", "kill", "-s", "SIGTERM", session.container).status == 0
        session.process.stdin.write(b"on\n")
        outcome = session.finish()
    assert (outcome.status, outcome.text) == (3, "got on\n"), outcome


def test_forced_removal_of_a_running_task(client, events):
    container = client.start("sleep", "1000")
    client.remove(container)
    assert events.wait_for("/tasks/delete", container, EXIT_DEADLINE_S)


def test_attached_client_dies(client, events):
    """The container belongs to containerd: it outlives the ctr that started it."""
    script = "echo up; trap 'exit 5' TERM; while :; do echo more; sleep 1; done"
    with client.session("sh", "-c", script) as session:
        session.read_until("up")
    assert [row[2] for row in client.task_rows()] == ["RUNNING"]
    assert client.ctr("tasks", "kill", session.container).status == 0
    ended = events.wait_for("/tasks/exit", session.container, EXIT_DEADLINE_S)
    assert ended.payload["exit_status"] == 5
    client.remove(session.container)


def test_two_clients_at_once(client, events):
    """While one client waits for its container to boot, others are answered."""
    with client.session("sh", "-c", "echo up; read unused || :") as session:
        events.wait_for("/containers/create", session.container, EXIT_DEADLINE_S)
        rows = client.task_rows()
        assert not rows or rows[0][0] == session.container
        again = client.run("true", container=session.container)
        assert again.status == 1 and "already exists" in again.error, again
        session.read_until("up")
        other = client.run("true")
        assert other.status == 0, other
        assert [row[0] for row in client.task_rows()] == [session.container]
        assert session.finish().status == 0


def test_kill_by_two_clients_at_once(client, events):
    container = client.start("sleep", "1000")
    argv = client.containerd.ctr_argv("tasks", "kill", "-s", "SIGKILL", container,
                                      namespace=NAMESPACE)
    killers = [subprocess.Popen(argv, stderr=subprocess.PIPE) for _ in range(2)]
    answers = [(killer.communicate(timeout=30)[1], killer.returncode) for killer in killers]
    assert any(status == 0 for _, status in answers)
    assert all(status == 0 or b"not found" in error for error, status in answers), answers
    events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    client.remove(container)

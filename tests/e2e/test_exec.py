"""Further processes in a running container: `ctr tasks exec`."""

import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.client import NAMESPACE

EXIT_DEADLINE_S = 60
MIB = 1 << 20
LINES = 1000
EXECS = 100
AT_ONCE = 8
# What a shim waits at most, in its Delete, for output that a child of the exec may still write.
OUTPUT_PATIENCE_S = 2
# What the container's init passes on to its execs.
INIT_FLAGS = ["--env", "GREETING=good morning", "--cwd", "/var", "--cap-add", "CAP_SYS_ADMIN",
              "--cap-drop", "CAP_CHOWN"]


@pytest.fixture
def container(client):
    """A container whose init sleeps, for as long as the test."""
    started = client.start("sleep", "1000", flags=INIT_FLAGS)
    yield started
    client.remove(started)


# -- what it answers -------------------------------------------------------------------------------

def test_stdout_and_stderr_are_separate_and_complete(client, container):
    script = f"i=0; while [ $i -lt {LINES} ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
    outcome = client.exec_sh(container, script)
    assert outcome.status == 0, outcome
    assert outcome.text.splitlines() == [f"out {i}" for i in range(LINES)]
    assert outcome.error.splitlines() == [f"err {i}" for i in range(LINES)]


@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("exit 255", 255),
    # An exec is no pid 1: signals that it does not handle end it.
    ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9), ("kill -USR1 $$", 128 + 10)])
def test_exit_code(client, container, script, status):
    outcome = client.exec_sh(container, script)
    assert (outcome.status, outcome.text, outcome.error) == (status, "", ""), outcome


@pytest.mark.parametrize("user, ids", [("nobody", "65534 65534 65534"), ("1234", "1234 0 0"),
                                       ("1234:5678", "1234 5678 5678"), ("0", "0 0 0")])
def test_user(client, container, user, ids):
    outcome = client.exec_sh(container, "echo $(id -u) $(id -g) $(id -G)", flags=["--user", user])
    assert (outcome.status, outcome.text) == (0, f"{ids}\n"), outcome


def test_another_user_has_no_capabilities(client, container):
    """Only bounding and inheritable ones stay, and nothing is permitted."""
    outcome = client.exec_sh(container, "grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status",
                             flags=["--user", "1234"])
    assert outcome.text.split()[1::2] == ["0" * 16] * 3, outcome


@pytest.mark.parametrize("flags, directory", [([], "/var"), (["--cwd", "/tmp"], "/tmp")])
def test_working_directory(client, container, flags, directory):
    outcome = client.exec(container, "pwd", flags=flags)
    assert (outcome.status, outcome.text) == (0, f"{directory}\n"), outcome


def test_environment(client, container):
    """The init's, and HOME from /etc/passwd by the exec's own user."""
    outcome = client.exec_sh(container, "echo $GREETING; echo $HOME")
    assert outcome.text.splitlines() == ["good morning", "/root"], outcome
    outcome = client.exec_sh(container, "echo $HOME", flags=["--user", "nobody"])
    assert outcome.text == "/\n", outcome


# -- stdin -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [1, 64 << 10, 8 * MIB])
def test_stdin_comes_back_through_cat(client, container, size):
    """Never nothing: when stdin ends before ctr has made the exec, ctr does not send CloseIO, and
    under runc cat waits for ever."""
    sent = os.urandom(size)
    # The echo shows that cat has seen the end of its input.
    outcome = client.exec_sh(container, "cat; echo end >&2", input=sent)
    assert (outcome.status, outcome.error) == (0, "end\n"), outcome.error
    assert len(outcome.stdout) == size
    assert hashlib.sha256(outcome.stdout).digest() == hashlib.sha256(sent).digest()


def test_stdin_as_it_comes(client, container):
    script = "while read line; do echo got $line; done; echo eof; exit 6"
    with client.exec_session(container, "sh", "-c", script) as session:
        for word in ("one", "two"):
            session.process.stdin.write(f"{word}\n".encode())
            session.process.stdin.flush()
            session.read_until(f"got {word}")
        outcome = session.finish()
    assert (outcome.status, outcome.text) == (6, "eof\n"), outcome


def test_background_child_keeps_stdout_open(client, container, events):
    """The exec has ended when its own process has: at once, says the event. What the child writes
    for the next two seconds still comes (that long the shim's Delete waits), then ctr returns; the
    child lives on. containerd's shim for runc waits just so."""
    exec_id = client.new_id()
    with client.exec_session(container, "sh", "-c",
                             "(echo child; sleep 777) & echo started; exit 5",
                             exec_id=exec_id) as session:
        exited = events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S, exec_id)
        outcome = session.finish()
    assert exited.payload["exit_status"] == outcome.status == 5, outcome
    assert sorted(outcome.text.split()) == ["child", "started"]
    found = client.exec_sh(container, "pidof sleep | wc -w")
    assert found.text == "2\n", found


def test_output_of_a_child_after_the_exit(client, container):
    """Within OUTPUT_PATIENCE_S, that is."""
    outcome = client.exec_sh(container, "(sleep 0.5; echo late) & exit 5")
    assert (outcome.status, outcome.text) == (5, "late\n"), outcome


# -- what cannot start -----------------------------------------------------------------------------

# Flags and command, and the parts of the message that a user needs, from runc's.
CANNOT_START = {
    "missing binary": ((), ["/no/such/binary"],
                       ['"/no/such/binary"', "no such file or directory"]),
    "not in PATH": ((), ["no-such-binary"],
                    ['"no-such-binary"', "executable file not found in $PATH"]),
    "directory": ((), ["/etc"], ['"/etc"', "permission denied"]),
    "not executable": ((), ["/etc/passwd"], ['"/etc/passwd"', "permission denied"]),
    "no command": ((), [], ["args must not be empty"]),
    "cwd is missing": (["--cwd", "/no/such/cwd"], ["true"],
                       ["/no/such/cwd", "no such file or directory"]),
    "cwd is a file": (["--cwd", "/etc/passwd"], ["true"],
                      ["/etc/passwd", "not a directory"]),
    "cwd is relative": (["--cwd", "tmp"], ["true"], ["wd must be an absolute path"]),
    "unknown user": (["--user", "nobody-of-that-name"], ["true"], ["no users found"]),
}


@pytest.mark.parametrize("case", CANNOT_START)
def test_message(client, container, events, case):
    """And the id is free again, no event says that anything started or ended."""
    flags, command, parts = CANNOT_START[case]
    exec_id = client.new_id()
    outcome = client.exec(container, *command, flags=flags, exec_id=exec_id)
    assert outcome.status == 1, outcome
    assert [part for part in parts if part not in outcome.error] == [], outcome
    assert set(events.topics_of(container, exec_id)) <= {"/tasks/exec-added"}
    outcome = client.exec(container, "echo", "again", exec_id=exec_id)
    assert (outcome.status, outcome.text) == (0, "again\n"), outcome


def test_used_id(client, container, events):
    """Also that of an exec that has ended, until somebody deletes it."""
    assert client.exec(container, "sh", "-c", "exit 3", flags=["--detach"], exec_id="x").status == 0
    events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S, "x")
    again = client.exec(container, "true", exec_id="x")
    assert again.status == 1 and "id x: already exists" in again.error, again
    assert _delete(client, container, "x").status == 3
    again = _delete(client, container, "x")
    assert again.status == 1 and "process does not exist x: not found" in again.error, again
    assert client.exec(container, "true", exec_id="x").status == 0


def test_id_of_the_container(client, container):
    """An exec may be called like its container."""
    outcome = client.exec_sh(container, "exit 8", exec_id=container)
    assert outcome.status == 8, outcome
    assert [row[2] for row in client.task_rows()] == ["RUNNING"]


def test_unknown_container(client):
    container = client.new_id()
    outcome = client.exec(container, "true")
    assert outcome.status == 1 and f'container "{container}"' in outcome.error, outcome
    assert "not found" in outcome.error


def test_container_without_a_task(client):
    container = client.new_id()
    assert client.ctr(*client.create_args(container, ("true",))).status == 0
    outcome = client.exec(container, "true")
    assert outcome.status == 1 and "no running task found" in outcome.error, outcome
    client.remove(container)


def test_stopped_container(client, container, events):
    client.ctr("tasks", "kill", "-s", "SIGKILL", container)
    events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    outcome = client.exec(container, "true")
    assert outcome.status == 1 and "cannot exec in a stopped state" in outcome.error, outcome


def test_paused_container(client, container):
    assert client.ctr("tasks", "pause", container).status == 0
    outcome = client.exec(container, "true")
    assert outcome.status == 1 and "cannot exec in a paused state" in outcome.error, outcome
    assert client.ctr("tasks", "resume", container).status == 0
    assert client.exec(container, "true").status == 0


# -- life ------------------------------------------------------------------------------------------

def test_kill(client, container):
    """Of the exec alone; a kill of one that has ended says so."""
    with client.exec_session(container, "sh", "-c", "echo up; exec sleep 1000") as session:
        session.read_until("up")
        killed = _kill(client, container, session.process_id)
        assert killed.status == 0, killed
        assert session.finish().status == 128 + 15
    again = _kill(client, container, session.process_id)
    assert again.status == 1, again
    assert f"process does not exist {session.process_id}: not found" in again.error
    assert [row[2] for row in client.task_rows()] == ["RUNNING"]


def test_kill_of_one_that_has_ended(client, container, events):
    client.exec(container, "true", flags=["--detach"], exec_id="x")
    events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S, "x")
    killed = _kill(client, container, "x")
    assert killed.status == 1 and "process already finished: not found" in killed.error, killed


def test_delete_of_one_that_runs(client, container, events):
    client.exec(container, "sleep", "1000", flags=["--detach"], exec_id="x")
    refused = _delete(client, container, "x")
    assert refused.status == 1 and "must be stopped before deletion" in refused.error, refused
    assert _kill(client, container, "x", "SIGKILL").status == 0
    events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S, "x")
    assert _delete(client, container, "x").status == 128 + 9


def test_signal_that_is_handled(client, container):
    script = "trap 'echo handled; exit 4' USR1; echo up; while :; do sleep 0.1; done"
    with client.exec_session(container, "sh", "-c", script) as session:
        session.read_until("up")
        assert _kill(client, container, session.process_id, "SIGUSR1").status == 0
        outcome = session.finish()
    assert (outcome.status, outcome.text) == (4, "handled\n"), outcome


def test_init_ends_while_an_exec_runs(client, events):
    """The kernel kills what is left in the container's pid namespace; the exec's end is reported,
    and before that of the init. Its client hears 137."""
    container = client.start("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
    with client.exec_session(container, "sh", "-c", "echo up; exec sleep 1000") as session:
        session.read_until("up")
        assert client.ctr("tasks", "kill", container).status == 0
        assert session.finish().status == 128 + 9
    events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    exits = [(event.process, event.payload.get("exit_status")) for event in events.events
             if event.container == container and event.topic == "/tasks/exit"]
    assert exits == [(session.process_id, 128 + 9), (container, 3)]
    gone = _kill(client, container, session.process_id)
    assert gone.status == 1 and "process does not exist" in gone.error, gone
    client.remove(container)


def test_container_is_removed_while_an_exec_runs(client):
    container = client.start("sleep", "1000")
    with client.exec_session(container, "sh", "-c", "echo up; exec sleep 1000") as session:
        session.read_until("up")
        client.remove(container)
        assert session.finish().status == 128 + 9


def test_client_of_an_exec_dies(client, container, events):
    """The exec belongs to containerd: it goes on, and its id stays used."""
    script = "echo up; trap 'exit 5' TERM; while :; do echo more; sleep 0.1; done"
    with client.exec_session(container, "sh", "-c", script) as session:
        session.read_until("up")
    assert session.process_id in client.task_processes(container).values()
    assert _kill(client, container, session.process_id).status == 0
    ended = events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S, session.process_id)
    assert ended.payload["exit_status"] == 5
    assert _delete(client, container, session.process_id).status == 5


def test_ps_shows_every_process(client, container):
    """The init, the exec by its id, and the exec's child."""
    with client.exec_session(container, "sh", "-c", "sleep 1000 & echo up; read unused") as session:
        session.read_until("up")
        [(_, init_pid, _)] = client.task_rows()
        shown = client.task_processes(container)
        assert len(shown) == 3, shown
        assert init_pid in shown or client.name == "kata"  # whose pid is QEMU's
        assert sorted(filter(None, shown.values())) == [session.process_id]
        assert list(shown) == sorted(shown)


def test_events_and_their_order(client, container, events):
    outcome = client.exec_sh(container, "exit 9", exec_id="x")
    assert outcome.status == 9
    added, started, ended = (events.wait_for(topic, container, EXIT_DEADLINE_S, "x").payload
                             for topic in ("/tasks/exec-added", "/tasks/exec-started",
                                           "/tasks/exit"))
    assert events.topics_of(container, "x") == ["/tasks/exec-added", "/tasks/exec-started",
                                                "/tasks/exit"]
    assert added == {"container_id": container, "exec_id": "x"}
    assert started["pid"] == ended["pid"] > 0
    assert (ended["id"], ended["exit_status"]) == ("x", 9)
    assert ended["exited_at"]


@pytest.mark.deadline(900)
def test_hundred_eight_at_once(client, container):
    def run(number):
        outcome = client.exec_sh(container, f"echo {number}; cat; exit {number % 7}",
                                 input=f"in {number}".encode(), exec_id=f"many-{number}")
        return outcome.status, outcome.text, outcome.error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(run, range(EXECS)))
    expected = [(number % 7, f"{number}\nin {number}", "") for number in range(EXECS)]
    if client.name == "runc":  # whose shim once lost all output of one exec among the hundred
        answers = [(status, output or wanted, error)
                   for (status, output, error), (_, wanted, _) in zip(answers, expected)]
    assert answers == expected
    assert list(client.task_processes(container).values()) == [None]


def test_same_id_by_two_clients_at_once(client, container):
    argv = client.containerd.ctr_argv("tasks", "exec", "--exec-id", "x", container, "sleep", "1",
                                      namespace=NAMESPACE)
    clients = [subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for _ in range(2)]
    answers = sorted((one.communicate(timeout=EXIT_DEADLINE_S)[1], one.returncode)
                     for one in clients)
    assert answers[0] == (b"", 0)
    assert answers[1][1] == 1 and b"id x: already exists" in answers[1][0]


def _kill(client, container, exec_id, signal="SIGTERM"):
    return client.ctr("tasks", "kill", "--exec-id", exec_id, "--signal", signal, container)


def _delete(client, container, exec_id):
    """Its status is the exit code of the exec."""
    return client.ctr("tasks", "delete", "--exec-id", exec_id, container)

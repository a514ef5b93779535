"""containerd ends and comes back while containers run: shims live on, nothing is lost or doubled."""

import os
import re
import signal
import time

import pytest

from support import processes
from support.client import NAMESPACE
from support.events import EventStream
from support.tasks import Tasks
from support.wakeups import Wakeups

DEADLINE_S = 60
# A shim tries again for as long to tell containerd of an event.
EVENT_DEADLINE_S = 30
STOPPED = 3
HANDLES_SIGTERM = ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]
# Waits for the file `open` in a directory of the host, and says there that it ends.
ENDS_BY_A_FILE = "until [ -e /gate/open ]; do sleep 0.05; done; touch /gate/done; exit 7"


@pytest.fixture
def own(leak_check, make_containerd):
    """A containerd of the test's own: the session's has others that listen to it."""
    with make_containerd("r") as running:
        yield running


@pytest.fixture(params=["runc", "kata"])
def client(request, own):
    client = request.getfixturevalue(request.param).on(own)
    yield client
    client.close()


@pytest.fixture(params=[signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def end_containerd(request, own):
    def end():
        pid = own.pid
        os.kill(pid, request.param)
        processes.wait_gone(pid, DEADLINE_S)
        own.kill()  # What is left of it for us: that it is reaped.
    return end


@pytest.fixture
def gate(tmp_path):
    """A directory of the host that is /gate in the container."""
    directory = tmp_path / "gate"
    directory.mkdir()
    return directory


def _mount(gate):
    return ["--mount", f"type=bind,src={gate},dst=/gate,options=rbind:rw"]


def _open(gate):
    """Returns when the container has said that it ends."""
    with Wakeups() as wakeups:
        wakeups.watch_directory(gate)
        (gate / "open").touch()
        while not (gate / "done").exists():
            assert wakeups.wait(DEADLINE_S), "the container has not seen the file"


def _forwarded(own, topic, count=1):
    """How many such events shims have told this containerd since its start; waits for `count`."""
    end = time.monotonic() + EVENT_DEADLINE_S
    with Wakeups() as wakeups:
        wakeups.watch_file(own.log_path)
        while True:
            found = re.findall(rf'msg="event forwarded".* topic={topic} ',
                               own.log_path.read_text(errors="replace"))
            if len(found) >= count or not wakeups.wait(end - time.monotonic()):
                return len(found)


def test_task_goes_on(client, own, end_containerd):
    """The same process under the same shim; it can be executed in, killed and removed."""
    container = client.start(*HANDLES_SIGTERM)
    before = client.task_rows()
    shims = _shims(container)
    end_containerd()
    own.start(keep_tasks=True)
    assert client.task_rows() == before == [(container, before[0][1], "RUNNING")]
    assert _shims(container) == shims and len(shims) == 1
    outcome = client.exec_sh(container, "echo in; exit 5")
    assert (outcome.status, outcome.text) == (5, "in\n"), outcome
    events = EventStream(own, NAMESPACE)
    assert client.ctr("tasks", "kill", container).status == 0
    ended = events.wait_for("/tasks/exit", container, DEADLINE_S)
    assert ended.payload["exit_status"] == 7
    client.remove(container)
    events.wait_for("/tasks/delete", container, DEADLINE_S)
    assert events.topics_of(container).count("/tasks/exit") == 1
    events.close()


def _shims(container):
    return sorted(process.pid for process in processes.running()
                  if process.program.startswith("containerd-shim") and container in process.argv)


def test_attach_again(client, own, end_containerd):
    """A client dies, containerd ends, a new client takes over the streams. (The old one has to be
    killed: a ctr that ends because containerd has gone removes the FIFOs.)"""
    script = "while read word; do echo got $word; [ $word = last ] && exit 6; done; exit 1"
    container = client.start("sh", "-c", script)
    with client.attach(container) as session:
        _say(session, "one")
        session.read_until("got one")
    end_containerd()
    own.start(keep_tasks=True)
    with client.attach(container) as session:
        _say(session, "two")
        session.read_until("got two")
        _say(session, "last")
        outcome = session.finish()
    assert (outcome.status, outcome.text) == (6, "got last\n"), outcome
    client.remove(container)


def _say(session, word):
    session.process.stdin.write(f"{word}\n".encode())
    session.process.stdin.flush()


def test_exit_meanwhile(client, own, end_containerd, gate, session_directory):
    """Is told afterwards, once."""
    container = client.start("sh", "-c", ENDS_BY_A_FILE, flags=_mount(gate))
    end_containerd()
    _open(gate)
    own.start(keep_tasks=True)
    assert _forwarded(own, "/tasks/exit") == 1
    assert [row[::2] for row in client.task_rows()] == [(container, "STOPPED")]
    tasks = Tasks(own.address, NAMESPACE, session_directory / "proto")
    ended = tasks.call("Get", container_id=container).process
    assert (ended.status, ended.exit_status) == (STOPPED, 7)
    tasks.close()
    client.remove(container)
    assert _forwarded(own, "/tasks/exit", 1) == 1


def test_exec_goes_on(client, own, end_containerd, gate):
    """Of two execs one ends meanwhile, the other afterwards; both are told, and their codes kept."""
    container = client.start("sleep", "1000", flags=_mount(gate))
    client.exec_sh(container, ENDS_BY_A_FILE, flags=["--detach"], exec_id="meanwhile")
    client.exec(container, *HANDLES_SIGTERM, flags=["--detach"], exec_id="afterwards")
    end_containerd()
    _open(gate)
    own.start(keep_tasks=True)
    assert _forwarded(own, "/tasks/exit") == 1
    assert "afterwards" in client.task_processes(container).values()
    killed = client.ctr("tasks", "kill", "--exec-id", "afterwards", container)
    assert killed.status == 0, killed
    assert _forwarded(own, "/tasks/exit", 2) == 2
    for exec_id in ("meanwhile", "afterwards"):
        deleted = client.ctr("tasks", "delete", "--exec-id", exec_id, container)
        assert deleted.status == 7, deleted
    client.remove(container)


def test_paused_container_stays_paused(client, own, end_containerd):
    container = client.start("sleep", "1000")
    client.ctr("tasks", "pause", container)
    end_containerd()
    own.start(keep_tasks=True)
    assert [row[2] for row in client.task_rows()] == ["PAUSED"]
    assert client.ctr("tasks", "resume", container).status == 0
    assert client.exec(container, "true").status == 0
    client.remove(container)

"""Hooks of a specification that ctr is given: when they run, what they see, and what becomes of
failures, with ours as with runc."""

import json
import os
import signal
from pathlib import Path

import pytest

from support import processes
from support.wakeups import Wakeups

EVENT_DEADLINE_S = 60
# Static, and so a program of the guest, too.
BUSYBOX = "/bin/busybox"
HOST_KINDS = ("prestart", "createRuntime", "poststart", "poststop")


@pytest.fixture
def notes(tmp_path):
    """A directory of the host's, for hooks."""
    directory = tmp_path / "notes"
    directory.mkdir()
    return directory


@pytest.fixture
def make_spec(ctr_spec):
    """make_spec(hooks, script): a file with ctr's own specification and those hooks."""
    def make(hooks, script="true"):
        return ctr_spec.write(ctr_spec("sh", "-c", script) | {"hooks": hooks})
    return make


def _sh(script, **fields):
    return {"path": BUSYBOX, "args": ["sh", "-c", script], **fields}


def _noting(notes, kind):
    """The kind, and the state in a file of its name."""
    return _sh(f"cat > {notes}/{kind}; echo {kind} >> {notes}/order")


def _order(notes):
    path = notes / "order"
    return path.read_text().split() if path.exists() else []


def _state(notes, kind):
    return json.loads((notes / kind).read_text())


def test_all_kinds(client, make_spec, notes):
    """poststart's place among those of the start is each runtime's own: runc 1.1 runs it early."""
    hooks = {kind: [_noting(notes, kind)] for kind in HOST_KINDS}
    hooks["createContainer"] = [_sh("echo createContainer > order; cat > state")]
    hooks["startContainer"] = [{"path": "/bin/sh",
                                "args": ["sh", "-c", "echo startContainer >> /order"]}]
    container = client.new_id()
    outcome = client.run_spec(make_spec(hooks, "cat /order /state"), container)
    assert outcome.status == 0, outcome
    *order, state = outcome.text.splitlines()
    assert order == ["createContainer", "startContainer"]
    assert json.loads(state) | {"ociVersion": ""} == {
        "ociVersion": "", "id": container, "status": "creating", "pid": 1,
        "bundle": _state(notes, "createRuntime")["bundle"]}
    assert _order(notes) == ["prestart", "createRuntime", "poststart", "poststop"]
    for kind, status in (("prestart", "creating"), ("createRuntime", "creating"),
                         ("poststop", "stopped")):
        state = _state(notes, kind)
        assert (state["id"], state["status"]) == (container, status)
        assert Path(state["bundle"]).name == container
        assert ("pid" in state) == (kind != "poststop")


def test_pid_is_the_tasks_in_the_containers_network_namespace(client, make_spec, notes):
    """What Docker's hook for the network relies on."""
    script = (f"pid=$({BUSYBOX} sed 's/.*\"pid\"://; s/,.*//'); echo $pid > {notes}/pid; "
              f"for p in $pid self; do {BUSYBOX} readlink /proc/$p/ns/net; done > {notes}/namespaces")
    spec = make_spec({"createRuntime": [_sh(script)]}, "sleep 1000")
    container = client.start_spec(spec)
    pids = [pid for task, pid, _ in client.task_rows() if task == container]
    client.remove(container)
    assert pids == [int((notes / "pid").read_text())]
    of_container, of_hook = (notes / "namespaces").read_text().split()
    assert of_hook == os.readlink("/proc/self/ns/net")
    assert of_container not in ("", of_hook)


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_failure_ends_the_create(client, make_spec, notes, kind):
    hooks = {kind: [_sh("true"), _sh("echo the reason >&2; exit 3"), _sh("true")],
             "poststop": [_noting(notes, "poststop")]}
    outcome = client.run_spec(make_spec(hooks))
    assert outcome.status == 1, outcome
    parts = ["hook #1", "status 3", "the reason"]
    if client.name == "kata":
        parts += [f"{kind} hook", BUSYBOX]
    assert [part for part in parts if part not in outcome.error] == [], outcome
    assert _order(notes) == ["poststop"]


def test_timeout_leaves_nothing(kata, make_spec, notes):
    """Not even what the hook has started; runc kills the hook alone."""
    endless = f"{BUSYBOX} tail -f {notes}/endless"
    (notes / "endless").touch()
    hooks = {"createRuntime": [_sh(f"{endless} & {endless}", timeout=1)]}
    outcome = kata.run_spec(make_spec(hooks))
    assert outcome.status == 1, outcome
    assert f"createRuntime hook #0 ({BUSYBOX}): ran past its 1 s" in outcome.error
    assert [process for process in processes.running()
            if process.argv[-1:] == (f"{notes}/endless",)] == []


def test_failures_after_the_start_are_logged(kata, make_spec, notes, containerd):
    hooks = {kind: [_sh(f"echo {kind} is sorry; exit 1"), _noting(notes, kind)]
             for kind in ("poststart", "poststop")}
    outcome = kata.run_spec(make_spec(hooks, "echo of the container"))
    assert (outcome.status, outcome.text) == (0, "of the container\n"), outcome
    assert _order(notes) == ["poststart", "poststop"]
    log = containerd.log_path.read_text(errors="replace")
    for kind in hooks:
        assert f"{kind} hook #0 ({BUSYBOX}): exited with status 1: {kind} is sorry" in log


def test_other_calls_are_answered_meanwhile(kata, make_spec, notes):
    """poststart has no timeout and waits for the end of the test; the container can be killed."""
    waiting = _sh(f"cat > {notes}/state; until [ -e {notes}/go ]; do {BUSYBOX} sleep 0.05; done")
    spec = make_spec({"poststart": [waiting]}, "sleep 1000")
    with kata.spec_session(spec) as session, Wakeups() as wakeups:
        wakeups.watch_directory(notes)
        while not (notes / "state").exists():
            assert wakeups.wait(EVENT_DEADLINE_S), "the hook has not run"
        assert [row[2] for row in kata.task_rows()] == ["RUNNING"]
        killed = kata.ctr("tasks", "kill", "-s", "SIGKILL", session.container)
        assert killed.status == 0, killed
        (notes / "go").touch()
        outcome = session.finish()
    assert outcome.status == 128 + signal.SIGKILL, outcome


def test_poststop_after_the_end_of_the_shim(client, make_spec, notes, events, leaks):
    """containerd's cleanup runs them, once."""
    container = client.start_spec(
        make_spec({"poststop": [_noting(notes, "poststop")]}, "sleep 1000"))
    processes.kill(leaks.only("containerd-shim"))
    events.wait_for("/tasks/exit", container, EVENT_DEADLINE_S)
    client.remove(container)
    assert _order(notes) == ["poststop"]
    assert _state(notes, "poststop")["status"] == "stopped"
    if client.name == "runc":
        leaks.remove_dead_shim_sockets()

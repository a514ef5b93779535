"""containerd of newer Debian suites: another bootstrap, task API v3, a ctr that asks differently."""

import json
import os

import pytest

import newer_containerd
from support.client import NAMESPACE
from support.events import EventStream
from support.sandboxes import Sandboxes

DEADLINE_S = 60
HANDLES_SIGTERM = ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]


# The first that asks a shim for sandboxes.
NEWEST = newer_containerd.SUITES[-1]


@pytest.fixture(params=newer_containerd.SUITES)
def newer(request, leak_check, make_containerd, pytestconfig):
    programs = pytestconfig.getoption("--build").resolve() / "containerd"
    if not newer_containerd.available(programs, request.param):
        pytest.skip(f"no containerd of Debian {request.param} in {programs}: tools/test fetches it "
                    "where the archive can be reached")
    directory = newer_containerd.directory(programs, request.param)
    with make_containerd("n", binary=str(directory / "containerd"),
                         ctr_binary=str(directory / "ctr")) as running:
        yield running


@pytest.fixture(params=["runc", "kata"])
def client(request, newer):
    client = request.getfixturevalue(request.param).on(newer)
    yield client
    client.close()


def test_life_of_a_task(client, newer):
    """Every kind of call once, its answer, and all events in their order."""
    events = EventStream(newer, NAMESPACE)
    outcome = client.sh("uname -r; head -c 5; echo error >&2; exit 42", input=b"input")
    assert (outcome.status, outcome.error) == (42, "error\n"), outcome
    kernel, text = outcome.text.splitlines()
    assert (text, kernel == os.uname().release) == ("input", client.name == "runc")

    container = client.start(*HANDLES_SIGTERM)
    [(name, pid, status)] = client.task_rows()
    assert (name, status) == (container, "RUNNING") and pid > 0
    outcome = client.exec_sh(container, "head -c 4; exit 5", input=b"more", exec_id="x")
    assert (outcome.status, outcome.text) == (5, "more"), outcome
    missing = client.exec(container, "/no/such/binary", exec_id="y")
    assert missing.status == 1 and "no such file or directory" in missing.error, missing
    assert list(client.task_processes(container).values()) in ([None], [None, None])
    for command, shown in (("pause", "PAUSED"), ("resume", "RUNNING")):
        assert client.ctr("tasks", command, container).status == 0
        assert client.task_rows()[0][2] == shown
    assert client.ctr("tasks", "kill", container).status == 0
    events.wait_for("/tasks/exit", container, DEADLINE_S)
    assert client.task_rows() == [(container, pid, "STOPPED")]
    deleted = client.ctr("tasks", "delete", container)
    assert "exit code 7" in deleted.error, deleted
    client.remove(container)
    events.wait_for("/containers/delete", container, DEADLINE_S)
    assert [topic for topic in events.topics_of(container) if topic.startswith("/tasks/")] == [
        "/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit",
        "/tasks/exec-added", "/tasks/paused", "/tasks/resumed", "/tasks/exit", "/tasks/delete"]
    events.close()


# ctr tells the size after the start, and again when it changes.
WAIT_FOR_SIZE = 'until [ "$(stty size)" = "%s" ]; do sleep 0.1; done; echo %s; '


def test_terminal(client):
    script = WAIT_FOR_SIZE % ("31 97", "first") + WAIT_FOR_SIZE % ("40 120", "second") + "exit 9"
    with client.terminal("sh", "-c", script, size=(31, 97)) as terminal:
        terminal.expect("^first$")
        terminal.resize(40, 120)
        terminal.expect("^second$")
        assert terminal.finish()[0] == 9


@pytest.mark.parametrize("newer", [NEWEST], indirect=True)
def test_pod_of_the_sandbox_api(kata, newer, leaks, tmp_path):
    """Containers come and go in the one VM of a sandbox, which ends when it is told to."""
    client = kata.on(newer)
    sandboxes = Sandboxes(newer.address, NAMESPACE, tmp_path / "proto")
    (tmp_path / "pod.json").write_text(json.dumps({"ociVersion": "1.0.2"}))
    # Stores it and then does not start it: ctr 2.1 names no controller.
    client.ctr("sandboxes", "run", "--runtime", client.type, tmp_path / "pod.json", "pod")
    sandboxes.create("pod", client.type)
    started = sandboxes.call("Start", "pod")
    assert started.pid == leaks.only("qemu-system").pid
    boots = [client.run("cat", "/proc/sys/kernel/random/boot_id", flags=["--sandbox", "pod"])
             for _ in range(2)]
    assert [boot.status for boot in boots] == [0, 0], boots
    assert boots[0].text == boots[1].text
    assert leaks.only("qemu-system").pid == started.pid
    assert sandboxes.call("Status", "pod").state == "SANDBOX_READY"
    sandboxes.call("Stop", "pod")
    assert sandboxes.call("Wait", "pod").exit_status == 0
    sandboxes.call("Shutdown", "pod")
    assert client.ctr("sandboxes", "rm", "pod").status == 0
    sandboxes.close()

"""containerd of newer Debian suites: another bootstrap, task API v3, a ctr that asks differently."""

import os

import pytest

import newer_containerd
from private_containerd import PrivateContainerd
from support.client import NAMESPACE
from support.events import EventStream
from support.kata import KataBuild

DEADLINE_S = 60
HANDLES_SIGTERM = ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]


@pytest.fixture(params=newer_containerd.SUITES)
def newer(request, leak_check, session_directory, session_config, image_archive, pytestconfig):
    build_directory = pytestconfig.getoption("--build").resolve()
    programs = build_directory / "containerd"
    if not newer_containerd.available(programs, request.param):
        pytest.skip(f"no containerd of Debian {request.param} in {programs}: tools/test fetches it "
                    "where the archive can be reached")
    build = KataBuild(build_directory)
    directory = newer_containerd.directory(programs, request.param)
    with PrivateContainerd(session_directory / "n", path_prefix=build.shim_directory,
                           conf_file=session_config.path,
                           env={"KATA_MODULE_DIR": str(build.module_directory)},
                           binary=str(directory / "containerd"),
                           ctr_binary=str(directory / "ctr")) as running:
        running.import_image(image_archive, namespace=NAMESPACE)
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

"""A container that wants more memory than it may have."""

EXIT_DEADLINE_S = 60
LIMIT = ["--memory-limit", str(32 << 20)]
# Keeps all that it reads, because no line ends.
GLUTTON = ["tail", "/dev/zero"]


def test_init_is_killed(client, events):
    """Event and exit in any order: runc's shim hears of them on two ways, and of no OOM any more when
    the container is deleted first. So nobody deletes it before."""
    container = client.start(*GLUTTON, flags=LIMIT)
    ended = events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    assert ended.payload["exit_status"] == 128 + 9
    assert events.wait_for("/tasks/oom", container, EXIT_DEADLINE_S).payload == {
        "container_id": container}
    client.remove(container)


def test_child_is_killed(client, events):
    """The container goes on, and ends as it likes."""
    container = client.new_id()
    outcome = client.sh(f"{' '.join(GLUTTON)}; echo $?; sleep 1; exit 7", flags=LIMIT,
                        container=container)
    assert (outcome.status, outcome.text) == (7, "137\n"), outcome
    assert events.wait_for("/tasks/oom", container, EXIT_DEADLINE_S).payload == {
        "container_id": container}


def test_exec_is_killed(client, events):
    container = client.start("sleep", "1000", flags=LIMIT)
    outcome = client.exec(container, *GLUTTON)
    assert outcome.status == 128 + 9, outcome
    events.wait_for("/tasks/oom", container, EXIT_DEADLINE_S)
    assert client.exec(container, "true").status == 0
    client.remove(container)


def test_enough_memory(client, events):
    container = client.new_id()
    outcome = client.run("dd", "if=/dev/zero", "of=/dev/null", "bs=16M", "count=1", flags=LIMIT,
                         container=container)
    assert outcome.status == 0, outcome
    assert "/tasks/oom" not in events.topics_of(container)


def test_killed_by_somebody_else(client, events):
    """137 alone is no lack of memory."""
    container = client.start("sleep", "1000", flags=LIMIT)
    client.ctr("tasks", "kill", "-s", "SIGKILL", container)
    events.wait_for("/tasks/exit", container, EXIT_DEADLINE_S)
    assert "/tasks/oom" not in events.topics_of(container)
    client.remove(container)

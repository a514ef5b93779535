"""containerd's events of one container, in the order that clients rely on."""

EVENTS_DEADLINE_S = 60
ORDER = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]


def test_container_that_ends_at_once(client, events):
    container = client.new_id()
    outcome = client.run("true", container=container)
    assert outcome.status == 0, outcome
    events.wait_for("/containers/delete", container, EVENTS_DEADLINE_S)
    of_the_task = [topic for topic in events.topics_of(container) if topic.startswith("/tasks/")]
    assert of_the_task == ORDER


def test_what_the_events_say(client, events):
    container = client.new_id()
    outcome = client.sh("exit 42", container=container)
    assert outcome.status == 42, outcome
    created, started, ended, deleted = (
        events.wait_for(topic, container, EVENTS_DEADLINE_S).payload for topic in ORDER)
    assert created["bundle"].endswith(f"/{container}")
    assert created["rootfs"] and created["io"]["stdout"]
    assert created["pid"] == started["pid"] == ended["pid"] == deleted["pid"] > 0
    assert ended["id"] == container
    assert ended["exit_status"] == deleted["exit_status"] == 42
    assert ended["exited_at"] == deleted["exited_at"]

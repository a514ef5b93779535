"""That a run leaves nothing on the host, looked at as the end-to-end tests do."""

import contextlib

import pods
from support.events import EventStream
from support.leaks import LeakCheck

DEADLINE_S = 60


class Leftovers(Exception):
    """What was left."""


@contextlib.contextmanager
def checked(containers):
    """Leftovers, unless nothing of what was started inside is there at the end."""
    with contextlib.closing(EventStream(containers.containerd, pods.NAMESPACE)) as events:
        check = LeakCheck(pods.DIRECTORY, containers.containerd, events, pods.STATE_ROOT,
                          pods.NAMESPACE)
        check.begin()
        yield
        left = check.wait_clean(DEADLINE_S)
    if left:
        raise Leftovers("left on the host:\n  " + "\n  ".join(left))

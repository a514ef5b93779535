"""The guest's clock, while its pod runs."""

import time

# The first look at it is ten seconds after the start.
CORRECTION_DEADLINE_S = 100
HOUR_S = 3600
TOLERANCE_S = 2
RELOOK_S = 0.5


def test_clock_that_is_wrong_is_corrected(kata):
    """As after a sleep of the host, of which the guest knows nothing."""
    container = kata.start("sleep", "1000", flags=("--privileged",))
    wrong = int(time.time()) - HOUR_S
    assert kata.exec(container, "date", "-s", f"@{wrong}").status == 0
    assert abs(_difference(kata, container) + HOUR_S) < HOUR_S / 2
    end = time.monotonic() + CORRECTION_DEADLINE_S
    # A clock that is set makes no event that a shell could wait for.
    while abs(ahead := _difference(kata, container)) > TOLERANCE_S and time.monotonic() < end:
        time.sleep(RELOOK_S)
    assert abs(ahead) <= TOLERANCE_S
    kata.remove(container)


def _difference(kata, container):
    return int(kata.exec(container, "date", "+%s").text) - time.time()

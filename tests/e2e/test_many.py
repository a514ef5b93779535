"""How a container ends becomes ctr's exit status: twenty times in a row, and four at once."""

from itertools import cycle, islice

import pytest

# A container's init is killed only by its kernel: signals that it sends itself are ignored.
ENDINGS = {
    "success": ("exit 0", 0),
    "failure": ("exit 1", 1),
    "another code": ("exit 42", 42),
    "highest code": ("exit 255", 255),
    "SIGSEGV": ("ulimit -s 64; overflow() { overflow; }; overflow", 128 + 11),
    "SIGKILL": ("ulimit -t 1; while :; do :; done", 128 + 9),
}
IN_A_ROW = 20
AT_ONCE = 4


def test_runc_ends_as_the_table_says(runc):
    """Only the status: on a busy machine runc's shim has been seen to lose the output of a container
    that ends at once."""
    for name, (script, status) in ENDINGS.items():
        outcome = runc.sh(script)
        assert (name, outcome.status) == (name, status), outcome


@pytest.mark.deadline(1200)
def test_one_after_another(kata):
    for number, (name, (script, status)) in enumerate(islice(cycle(ENDINGS.items()), IN_A_ROW)):
        outcome = kata.sh(f"echo {number}; {script}")
        assert (name, outcome.status, outcome.text) == (name, status, f"{number}\n"), outcome


@pytest.mark.deadline(600)
def test_four_at_once(client):
    script = "echo $0; read go; exit $go"
    sessions = [client.session("sh", "-c", script, f"up-{number}") for number in range(AT_ONCE)]
    for number, session in enumerate(sessions):
        session.read_until(f"up-{number}", deadline_s=300)
    # All four run now; each ends by its own word.
    assert len(client.task_rows()) == AT_ONCE
    for number, session in enumerate(sessions):
        session.process.stdin.write(f"{10 + number}\n".encode())
        assert session.finish().status == 10 + number

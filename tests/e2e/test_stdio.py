"""Bytes of stdin, stdout and stderr: all of them, in order, and their end."""

import hashlib
import os

import pytest

MIB = 1 << 20
STDOUT_MIB = 256
STDIN_MIB = 64
LINES = 3000


def test_stdout_and_stderr_are_separate_and_complete(client):
    script = f"i=0; while [ $i -lt {LINES} ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
    outcome = client.sh(script)
    assert outcome.status == 0, outcome
    assert outcome.text.splitlines() == [f"out {i}" for i in range(LINES)]
    assert outcome.error.splitlines() == [f"err {i}" for i in range(LINES)]


@pytest.mark.deadline(600)
def test_large_stdout(client):
    outcome = client.sh(f"dd if=/dev/zero bs=1M count={STDOUT_MIB} 2>/dev/null; exit 9",
                        deadline_s=500)
    assert outcome.status == 9
    assert len(outcome.stdout) == STDOUT_MIB * MIB
    assert _sha256(outcome.stdout) == _sha256(bytes(STDOUT_MIB * MIB))


@pytest.mark.deadline(600)
def test_large_stdin_comes_back_through_cat(client):
    sent = os.urandom(STDIN_MIB * MIB)
    # The echo shows that cat has seen the end of its input.
    outcome = client.sh("cat; echo end >&2", input=sent, deadline_s=500)
    assert (outcome.status, outcome.error) == (0, "end\n"), outcome.error
    assert len(outcome.stdout) == len(sent)
    assert _sha256(outcome.stdout) == _sha256(sent)


def test_stdin_as_it_comes(client):
    """Line by line with the output of each in between: nothing waits for a full buffer or EOF."""
    script = "while read line; do echo got $line; done; echo eof"
    with client.session("sh", "-c", script) as session:
        for word in ("one", "two", "three"):
            session.process.stdin.write(f"{word}\n".encode())
            session.process.stdin.flush()
            session.read_until(f"got {word}")
        outcome = session.finish()
    assert (outcome.status, outcome.text) == (0, "eof\n"), outcome


def test_closed_streams(client):
    """A process that closes its own streams ends like any other; what it wrote before arrives."""
    outcome = client.sh("echo last; exec <&- >&- 2>&-; sleep 1; exit 4")
    assert (outcome.status, outcome.text) == (4, "last\n"), outcome


def _sha256(data):
    return hashlib.sha256(data).hexdigest()

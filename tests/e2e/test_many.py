"""Many: endings of containers, which become ctr's exit status, twenty in a row and four at once; and
execs in one container, which leave nothing behind."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import pytest
import usage

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
EXECS = 200
# What each may grow by over all the execs, each of which has three streams: less than a leak of one
# descriptor, one thread or 50 kB by each tenth exec. Threads of Go come and stay.
GROWTH = usage.Usage(descriptors=10, threads=10, rss_kb=10_000)
COUNT_ZOMBIES = "cat /proc/[0-9]*/status 2> /dev/null | grep -c '^State:.Z'; :"


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


@pytest.mark.deadline(1800)
def test_execs_leave_nothing(client, leaks):
    """Neither in the shim nor in the guest: measured after some have warmed everything up."""
    container = client.start("sleep", "100000")
    shim = leaks.only("containerd-shim").pid
    _run_execs(client, container, EXECS // 10)
    before = usage.of_process(shim)
    _run_execs(client, container, EXECS)
    after = usage.of_process(shim)
    assert client.exec_sh(container, COUNT_ZOMBIES).text == "0\n"
    assert _zombies_of(shim) == []
    grown = {name: value - before.to_json()[name] for name, value in after.to_json().items()}
    assert all(grown[name] <= most for name, most in GROWTH.to_json().items()), (grown, before)
    assert list(client.task_processes(container).values()) == [None]
    client.remove(container)


def _run_execs(client, container, count):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda number: client.exec_sh(container, f"exit {number % 9}"),
                                 range(count)))
    assert [outcome.status for outcome in outcomes] == [number % 9 for number in range(count)]


def _zombies_of(parent):
    """Children of a process on the host that have ended and were not waited for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # One that has just gone.
            fields = path.read_text().rpartition(")")[2].split()
            found += [path] if fields[:2] == ["Z", str(parent)] else []
    return found

"""Software as its users install it, in a Debian of its own: it does under our runtime what it does
under runc."""

import time
from pathlib import Path

import pytest

import regression

PROGRAMS = Path(__file__).parent / "programs"
# The VM's default is 256 MiB; PostgreSQL alone shares 128.
MEMORY_MIB = 1024
# Emulated, everything takes some twenty times as long, and longer on a machine that is busy.
RUN_DEADLINE_S = 3600
# What an operating system does, as Python sees it.
REGRESSION_TESTS = ("test_os", "test_subprocess", "test_signal", "test_posix", "test_fcntl", "test_mmap",
                    "test_threading", "test_socket")

pytestmark = pytest.mark.deadline(2 * RUN_DEADLINE_S)


@pytest.fixture
def outputs(runc, kata, kata_config, debian):
    """outputs(script): what the shell script prints, under runc and under ours."""
    kata_config.change(hypervisor={"default_memory": MEMORY_MIB})
    flags = ("--mount", f"type=bind,src={PROGRAMS},dst=/programs,options=rbind:ro")

    def run(script):
        texts = []
        for client in (runc, kata):
            began = time.monotonic()
            outcome = client.sh(script, image=debian, flags=flags, deadline_s=RUN_DEADLINE_S)
            print(f"\n{client.name}: {time.monotonic() - began:.1f} s", flush=True)
            assert outcome.status == 0, outcome
            texts.append(outcome.text)
        return texts
    return run


def test_nginx(outputs):
    expected, ours = outputs("python3 /programs/nginx_session.py")
    print(expected)
    assert "second" in expected and "/missing 404" in expected
    assert ours.splitlines() == expected.splitlines()


def test_postgresql(outputs):
    expected, ours = outputs("python3 /programs/postgresql_session.py")
    print(expected)
    assert "not properly shut down" in expected and "sums f" not in expected
    assert ours.splitlines() == expected.splitlines()


@pytest.mark.parametrize("module", REGRESSION_TESTS)
def test_python(outputs, module):
    expected, ours = map(regression.outcomes, outputs(regression.command(module)))
    print(f"runc: {regression.counted(expected)}\nkata: {regression.counted(ours)}")
    assert "ok" in expected.values()
    differing = {name: (expected.get(name), ours.get(name)) for name in expected.keys() | ours.keys()
                 if expected.get(name) != ours.get(name)}
    assert not differing, "\n".join(f"{name}: runc: {one}; ours: {other}"
                                    for name, (one, other) in sorted(differing.items()))

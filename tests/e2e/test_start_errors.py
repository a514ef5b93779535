"""A container that cannot start: ctr fails with a message that names what and why, as runc's."""

import pytest

# What ctr is asked for, and the parts of the message that a user needs, from runc's.
CASES = {
    "missing binary": ((), ["/no/such/binary"], ['"/no/such/binary"', "no such file or directory"]),
    "not in PATH": ((), ["no-such-binary"],
                    ['"no-such-binary"', "executable file not found in $PATH"]),
    "directory": ((), ["/etc"], ['"/etc"', "permission denied"]),
    "not executable": ((), ["/etc/passwd"], ['"/etc/passwd"', "permission denied"]),
    "cwd is a file": (["--cwd", "/etc/passwd"], ["true"], ["/etc/passwd", "not a directory"]),
    "cwd is relative": (["--cwd", "tmp"], ["true"], ["wd", "absolute path"]),
}


@pytest.mark.parametrize("case", CASES)
def test_message(client, case):
    flags, command, parts = CASES[case]
    outcome = client.run(*command, flags=flags)
    assert outcome.status == 1, outcome
    assert [part for part in parts if part not in outcome.error] == [], outcome


def test_unknown_user(client, image_for_user):
    container = client.new_id()
    outcome = client.run("true", image=image_for_user("nobody-of-that-name"), container=container)
    assert outcome.status == 1, outcome
    assert "no users found" in outcome.error
    # ctr itself finds that out, after it has made the snapshot, and leaves it to the collector.
    client.ctr("snapshots", "rm", container)


def test_missing_cwd_is_made(client):
    outcome = client.run("pwd", flags=["--cwd", "/made/on/the/way"])
    assert (outcome.status, outcome.text) == (0, "/made/on/the/way\n"), outcome

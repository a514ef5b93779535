"""Output that goes to files and to loggers (ctr run --log-uri) instead of to the client."""

import urllib.parse

# SIGTERM, which runc's shim sends with the end of the streams, must not end the logger before it
# has read them.
LOGGER = """trap '' TERM
echo $CONTAINER_NAMESPACE/$CONTAINER_ID > {to}/who
exec 5>&-
cat <&4 > {to}/err &
cat <&3 > {to}/out
wait"""


def test_output_is_appended_to_a_file(client, tmp_path):
    log = tmp_path / "made" / "log"
    for words in ("one", "two"):
        outcome = client.sh(f"echo {words}; echo {words} again >&2",
                            flags=("--log-uri", f"file://{log}"))
        assert (outcome.status, outcome.text) == (0, ""), outcome
    assert sorted(log.read_text().splitlines()) == ["one", "one again", "two", "two again"]
    assert log.stat().st_mode & 0o777 == 0o644


def test_output_goes_through_a_logger(client, tmp_path):
    container = client.new_id()
    script = "echo to stdout; echo to stderr >&2; exit 5"
    outcome = client.sh(script, container=container, flags=("--log-uri", _logger(tmp_path)))
    assert (outcome.status, outcome.text) == (5, ""), outcome
    assert (tmp_path / "out").read_text() == "to stdout\n"
    assert (tmp_path / "err").read_text() == "to stderr\n"
    assert (tmp_path / "who").read_text().endswith(f"/{container}\n")


def test_a_logger_that_dies_at_once_fails_the_container_with_its_cause(kata):
    """Under runc the container runs, and its output is lost."""
    uri = "binary:///bin/sh?-c=" + urllib.parse.quote("echo no such volume >&2; exit 3", safe="")
    outcome = kata.run("true", flags=("--log-uri", uri))
    assert outcome.status != 0, outcome
    assert "exited with status 3 before it was ready: no such volume" in outcome.error, outcome


def _logger(directory):
    script = LOGGER.format(to=directory)
    return "binary:///bin/sh?-c=" + urllib.parse.quote(script, safe="")

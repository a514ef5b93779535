"""What `kubectl exec`, `attach`, `logs` and `port-forward` come to."""

import itertools

import pytest

from support.wakeups import Wakeups

ECHO = "while read line; do echo got $line; [ \"$line\" = end ] && exit 3; done"
LONG_LINE_BYTES = 40_000
LOG_DEADLINE_S = 120


def wait_logged(container, text):
    with Wakeups() as wakeups:
        wakeups.watch_file(container.log)
        while text not in container.log.read_text():
            assert wakeups.wait(LOG_DEADLINE_S), container.log.read_text()


def test_exec(run_pod):
    """Streams apart, the status of the command, and a command that is not there."""
    container = run_pod().start("sleep", "1000")
    with container.exec("sh", "-c", "head -c 5; echo error >&2; exit 42") as streams:
        streams.send("input")
        assert (streams.finish(), streams.text, streams.error) == (42, "input", "error\n")
    with container.exec("seq", "200000") as streams:
        assert streams.finish() == 0
        assert streams.text == "".join(f"{number}\n" for number in range(1, 200001))
    with container.exec("/no/such/program") as streams:
        assert "no such file or directory" in streams.finish()


def test_exec_with_a_terminal(run_pod):
    container = run_pod().start("sleep", "1000")
    script = 'until [ "$(stty size)" = "40 120" ]; do sleep 0.1; done; echo sized; ' \
             "read line; echo read $line; tty; exit 9"
    with container.exec("sh", "-c", script, tty=True) as streams:
        streams.resize(31, 97)
        streams.resize(40, 120)
        streams.read_until("sized\r\n")
        streams.send("typed\n")
        assert streams.finish() == 9
        assert "typed\r\nread typed\r\n/dev/pts/" in streams.text
    # The client that goes away does not take the container with it.
    with container.exec("sh", tty=True) as streams:
        streams.send("echo u''p\n")
        streams.read_until("up\r\n")
    assert container.sh("echo lives").text == "lives\n"


def test_attach(run_pod, wait_exited):
    """Who is attached sees what is written from then on; all that are see the same."""
    pod = run_pod()
    container = pod.start("sh", "-c", f"echo error >&2; {ECHO}", stdin=True)
    with container.attach() as one, container.attach() as other:
        one.ask("one\n", "got one\n")
        other.ask("other\n", "got other\n")
        one.send("both\n")
        one.read_until("got both\n")
        other.read_until("got both\n")
    with container.attach() as again:
        again.ask("again\n", "got again\n")
        again.send("end\n")
        again.finish()
        assert set(again.text.splitlines()) == {"got again", "got end"}
    assert wait_exited(container).exit_code == 3
    entries = container.log_entries()
    assert ("stderr", False, "error") in entries
    texts = [text for stream, _, text in entries if stream == "stdout"]
    assert list(dict.fromkeys(texts)) == ["got one", "got other", "got both", "got again", "got end"]


def test_attach_to_a_terminal(run_pod, wait_exited):
    container = run_pod().start("sh", stdin=True, tty=True)
    with container.attach() as streams:
        streams.resize(40, 120)
        streams.send('until [ "$(stty size)" = "40 120" ]; do sleep 0.1; done; echo si""zed\n')
        streams.read_until("sized\r\n")
        streams.send("exit 5\n")
        streams.finish()
    assert wait_exited(container).exit_code == 5


def test_stdin_of_one_attach(run_pod, wait_exited):
    """stdinOnce: it ends with the first that was attached."""
    container = run_pod().start("sh", "-c", "cat; echo end", stdin=True, stdin_once=True)
    with container.attach() as streams:
        streams.send("line\n")
        streams.read_until("line\n")
    assert wait_exited(container).exit_code == 0
    assert container.log_entries() == [("stdout", False, "line"), ("stdout", False, "end")]


def test_logs(run_pod, wait_exited):
    """Long lines in parts, a last line without its end, each attempt's own file, and a file that
    kubelet has moved away (logrotate)."""
    pod = run_pod()
    container = pod.start("sh", "-c", f"printf '%{LONG_LINE_BYTES}s\\n' x; echo; printf end; "
                          "echo error >&2; exit 1")
    wait_exited(container)
    streams = {stream: list(entries) for stream, entries in itertools.groupby(
        sorted(container.log_entries(), key=lambda entry: entry[0]), key=lambda entry: entry[0])}
    out = streams["stdout"]
    parts = list(itertools.takewhile(lambda entry: entry[1], out))
    assert len(parts) == LONG_LINE_BYTES // 16384
    line = "".join(text for _, _, text in out[:len(parts) + 1])
    assert line == "x".rjust(LONG_LINE_BYTES)
    assert [text for _, _, text in out[len(parts) + 1:]] == ["", "end"]
    assert streams["stderr"] == [("stderr", False, "error")]

    again = pod.start("sh", "-c", "echo second attempt; read go; echo after", stdin=True)
    assert again.log != container.log and container.log.exists()
    wait_logged(again, "second attempt\n")
    with again.attach() as streams:
        moved = again.log.rename(again.log.with_suffix(".1"))
        again.reopen_log()
        streams.send("go\n")
        streams.finish()
    wait_exited(again)
    assert [entry[2] for entry in again.log_entries()] == ["after"]
    assert moved.read_text().endswith("stdout F second attempt\n")


def test_port_forward(run_pod):
    """To a server that listens at the pod's loopback only."""
    pod = run_pod()
    server = pod.start("sh", "-c", "seq 100000 > /tmp/page; "
                       "exec httpd -f -h /tmp -p 127.0.0.1:80")
    assert server.sh("until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done").status == 0
    expected = "".join(f"{number}\n" for number in range(1, 100001)).encode()
    for _ in range(2):
        with pod.forward(80) as port:
            header, _, page = port.exchange(b"GET /page HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
            assert (header.split()[1], page) == (b"200", expected)
    with pod.forward(81) as port, pytest.raises(AssertionError) as refused:
        port.exchange()
    assert "refused" in str(refused.value) or "reset" in str(refused.value)

"""The same of containerd of newer Debian suites: what every pod needs."""

import pytest

import newer_containerd
from support.cri import EXITED, READY, RUNNING, Ran


@pytest.fixture(scope="module", params=newer_containerd.SUITES)
def cri_containerd(request, make_cri, pytestconfig):
    programs = pytestconfig.getoption("--build").resolve() / "containerd"
    if not newer_containerd.available(programs, request.param):
        pytest.skip(f"no containerd of Debian {request.param} in {programs}: tools/test fetches it "
                    "where the archive can be reached")
    directory = newer_containerd.directory(programs, request.param)
    with make_cri(f"cri-{request.param}", binary=str(directory / "containerd"),
                  ctr_binary=str(directory / "ctr")) as made:
        yield made


@pytest.fixture(scope="module")
def cri(cri_containerd):
    return cri_containerd[1]


def test_life_of_a_pod(run_pod, wait_exited):
    """Containers that share the pod, execs, restarts, streams; removed in an order of its own."""
    pod = run_pod(hostname="web-1")
    assert pod.status.state == READY
    server = pod.start("nc", "-ll", "-p", "80", "-e", "echo", "page", name="server")
    other = pod.start("sleep", "1000", name="other")
    assert other.sh("until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done").text == "page\n"
    assert other.sh("hostname; exit 7") == Ran(7, "web-1\n", "")
    with other.exec("sh", "-c", "head -c 5; exit 9") as streams:
        streams.send("input")
        assert (streams.finish(), streams.text) == (9, "input")
    with pod.forward(80) as port:
        assert port.exchange() == b"page\n"
    for attempt in range(2):
        again = pod.start("sh", "-c", f"echo attempt {attempt}; exit {attempt}", name="again")
        assert wait_exited(again).exit_code == attempt
        assert again.log_entries() == [("stdout", False, f"attempt {attempt}")]
        again.remove()
    assert server.status.state == RUNNING
    assert server.stats().memory.working_set_bytes.value > 0
    # The first container goes first, one is left to the pod's end, one was never started.
    server.stop()
    assert server.status.state == EXITED
    server.remove()
    pod.create("sleep", "1000", name="created")
    assert other.sh("echo lives").text == "lives\n"

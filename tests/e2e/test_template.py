"""Pods that continue a template: a guest that was booted once and saved."""

import os
import re
import signal
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

CLOCK_TOLERANCE_S = 5
# Of the clock in a TCP sequence number: 64 ns each, 2**24 are a second.
TCP_TOLERANCE = 2**24
MADE = 'stage="template made"'


@pytest.fixture(scope="module")
def template_path(session_directory):
    """A store for this file's tests, empty at first."""
    return session_directory / "templates"


@pytest.fixture
def templates(kata_config, template_path):
    kata_config.change(factory={"template": "auto", "template_path": str(template_path)})
    return template_path


@pytest.fixture
def log(request):
    """log(): what the shims have logged in this test."""
    return request.node.log_window.read


def made_and_booted(text):
    """How many templates were made, and how many guests were booted instead of continued."""
    return text.count(MADE), text.count("stage=kernel")


def test_first_pod_makes_it_all_continue_it(kata, templates, log):
    kernel = kata.run("uname", "-r").text
    assert made_and_booted(log()) == (1, 0)
    outcome = kata.sh("uname -r; hostname; date +%s", flags=("--env", "X=1"))
    assert made_and_booted(log()) == (1, 0)
    release, name, clock = outcome.text.split()
    assert release == kernel.strip() != os.uname().release
    assert name == os.uname().nodename
    assert abs(int(clock) - time.time()) < CLOCK_TOLERANCE_S


def test_only_root_can_reach_it(kata, templates):
    assert kata.run("true").status == 0
    paths = [templates, *templates.rglob("*")]
    assert any(path.name == "memory" for path in paths)
    for path in paths:
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_pods_do_not_write_to_it(kata, templates):
    def content():
        return {path: path.read_bytes() for path in templates.rglob("*") if path.is_file()}
    assert kata.run("true").status == 0
    before = content()
    assert kata.sh("dd if=/dev/urandom of=/dev/shm/x bs=1M count=20").status == 0
    assert content() == before


def read_secrets(client, container):
    outcome = client.exec(container, "/secrets")
    assert outcome.status == 0, outcome
    return {name: values.split() for name, values in
            (line.split(" ", 1) for line in outcome.text.splitlines())}


def same_tcp_secret(first, second):
    """Whether the sequence numbers of the same connections differ by no more than some time."""
    distances = [(int(a) - int(b)) % 2**32 for a, b in zip(first["tcp"], second["tcp"], strict=True)]
    return all(min(distance, 2**32 - distance) < TCP_TOLERANCE for distance in distances)


def test_pods_share_no_secrets(kata, templates, guest_programs, log):
    """What two guests of one template hand out. (In a kernel so young other sources part their
    generators within a second, too: that the agent's entropy alone does is not seen here.)"""
    mount = f"type=bind,src={guest_programs}/secrets,dst=/secrets,options=rbind:ro"
    flags = ("--mount", mount, "--cap-add", "CAP_NET_ADMIN", "--cap-add", "CAP_NET_RAW")
    pods = [kata.start("sleep", "1000", flags=flags) for _ in range(2)]
    assert made_and_booted(log())[1] == 0
    one, other = (read_secrets(kata, pod) for pod in pods)
    again = read_secrets(kata, pods[0])
    for name in ("getrandom", "auxv", "uuid", "boot_id"):
        assert one[name] != other[name], name
    for name in ("getrandom", "auxv", "uuid"):
        assert one[name] != again[name], name
    # What shows that the measure is one: within a kernel both are the same.
    assert one["boot_id"] == again["boot_id"]
    assert same_tcp_secret(one, again), (one["tcp"], again["tcp"])
    assert not same_tcp_secret(one, other), (one["tcp"], other["tcp"])
    for pod in pods:
        kata.remove(pod)


def test_the_kernel_hears_that_it_was_cloned(kata, templates):
    """By the VM generation id, before any process of the guest runs on."""
    release = kata.run("uname", "-r").text.strip()
    if not release.endswith("-kata"):
        pytest.skip(f"Debian's cloud kernel {release} has no driver for vmgenid")
    messages = kata.run("dmesg", flags=("--cap-add", "CAP_SYSLOG")).text
    assert "crng reseeded due to virtual machine fork" in messages, messages


def test_other_settings_are_another_template(kata, kata_config, template_path, log):
    factory = {"template": "auto", "template_path": str(template_path)}
    kata_config.change(factory=factory)
    assert kata.run("true").status == 0
    before = made_and_booted(log())[0]
    kata_config.change(factory=factory, hypervisor={"kernel_params": "kata.test=1"})
    assert "kata.test=1" in kata.run("cat", "/proc/cmdline").text
    kata_config.change(factory=factory, hypervisor={"default_memory": 320})
    memory_kb = int(kata.run("awk", "/MemTotal/ {print $2}", "/proc/meminfo").text)
    assert 256 * 1024 < memory_kb <= 320 * 1024
    assert made_and_booted(log())[0] == before + 2
    kata_config.change(factory=factory)
    assert "kata.test" not in kata.run("cat", "/proc/cmdline").text
    assert made_and_booted(log())[0] == before + 2


def test_one_that_is_damaged(kata, templates, log):
    """The pod boots, with one warning, and so do the next, which do not try it again."""
    assert kata.run("true").status == 0
    for state in templates.glob("*/device_state"):
        state.write_bytes(bytes(state.stat().st_size))
    assert kata.sh("echo up").text == "up\n"
    text = log()
    assert len(re.findall("level=warning .*did not come up from its template", text)) == 1, text
    assert kata.sh("echo up").text == "up\n"
    text = log()
    assert len(re.findall("level=warning .*did not come up from its template", text)) == 1, text
    assert len(re.findall("level=warning .*without a template", text)) == 1, text


def test_one_that_was_cut(kata, kata_config, session_directory, log):
    """What can be seen at once to be no template is made anew."""
    path = session_directory / "templates-cut"
    kata_config.change(factory={"template": "auto", "template_path": str(path)})
    assert kata.run("true").status == 0
    for memory in path.glob("*/memory"):
        os.truncate(memory, memory.stat().st_size // 2)
    assert kata.sh("echo up").text == "up\n"
    assert kata.sh("echo up").text == "up\n"
    assert made_and_booted(log()) == (2, 0)


def qemu_that_is_killed_once(directory):
    """A program that becomes QEMU, but where it shall continue a template, the first time, it is
    killed as the OOM killer does it."""
    program, mark = directory / "qemu-killed-once", directory / "qemu-was-killed"
    program.write_text(f"""#!/bin/sh
case "$*" in *-incoming*) [ -e {mark} ] || {{ : > {mark}; kill -KILL $$; }} ;; esac
exec /usr/bin/qemu-system-x86_64 "$@"
""")
    program.chmod(0o755)
    return program


def test_a_kill_says_nothing_of_it(kata, kata_config, session_directory, log):
    """The pod whose QEMU somebody kills boots; the next continues the template."""
    path = session_directory / "templates-of-killed"
    kata_config.change(factory={"template": "auto", "template_path": str(path)},
                       hypervisor={"path": str(qemu_that_is_killed_once(session_directory))})
    assert kata.sh("echo up").text == "up\n"
    assert made_and_booted(log()) == (1, 1)
    assert kata.sh("echo up").text == "up\n"
    assert made_and_booted(log()) == (1, 1)


def test_a_guest_that_makes_none(kata, kata_config, session_directory, session_config, log):
    """The error of a boot is what it is without templates."""
    path = session_directory / "templates-of-none"
    kata_config.change(factory={"template": "auto", "template_path": str(path)},
                       hypervisor={"kernel_params": "init=/no/such/init rdinit=/no/such/init"},
                       agent={"dial_timeout": 60})
    outcome = kata.run("true")
    assert outcome.status == 1
    assert "Kernel panic" in outcome.error
    assert MADE not in log()


def test_the_command_line(kata, kata_config, session_directory, session_config, pytestconfig, log):
    """init makes what the next pod continues; destroy takes it away."""
    path = session_directory / "templates-of-factory"
    kata_config.change(factory={"template": "auto", "template_path": str(path)})
    program = pytestconfig.getoption("--build").resolve() / "runtime/cli/kata-runtime"

    def factory(verb):
        return subprocess.run([program, "factory", verb, "--config", session_config.path],
                              check=True, capture_output=True, text=True, timeout=120).stdout
    assert str(path) in factory("init")
    assert re.fullmatch(rf"{path}/\w+: \d+ MiB of memory\n", factory("status"))
    assert kata.run("true").status == 0
    assert made_and_booted(log()) == (0, 0)
    factory("destroy")
    assert not path.exists()
    assert "no template" in factory("status")


def test_the_command_line_is_killed(kata_config, session_directory, session_config, pytestconfig):
    """What it leaves of its VM the next call takes away."""
    path = session_directory / "templates-of-killed-factory"
    factory = {"template": "auto", "template_path": str(path)}
    program = pytestconfig.getoption("--build").resolve() / "runtime/cli/kata-runtime"
    command = [program, "factory", "init", "--config", session_config.path]
    killer = session_directory / "qemu-that-kills"
    killer.write_text("#!/bin/sh\nkill -KILL $PPID\n")
    killer.chmod(0o755)
    kata_config.change(factory=factory, hypervisor={"path": str(killer)})
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    kata_config.change(factory=factory)
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert not list(session_config.state_root.glob("factory-*"))


def test_pods_at_once_on_first_use(kata, kata_config, session_directory):
    path = session_directory / "templates-at-once"
    kata_config.change(factory={"template": "auto", "template_path": str(path)})
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda number: kata.sh(f"echo {number}"), range(3)))
    assert [outcome.text for outcome in outcomes] == ["0\n", "1\n", "2\n"]

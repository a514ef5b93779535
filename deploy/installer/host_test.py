import os
import sys

import pytest

from host import Host, Refused


@pytest.fixture(name="host")
def host_fixture(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    return Host(root)


def test_links_are_the_nodes(host):
    (host.root / "var/etc").mkdir(parents=True)
    (host.root / "absolute").symlink_to("/var/etc")
    (host.root / "var/relative").symlink_to("../etc")
    (host.root / "out").symlink_to("../../../../etc/passwd")
    assert host.path("/absolute/a/b") == host.root / "var/etc/a/b"
    assert host.path("/var/relative/a") == host.root / "etc/a"
    assert host.path("/out") == host.root / "etc/passwd"
    assert host.path("/etc/../../x") == host.root / "x"


def test_a_loop_of_links_is_refused(host):
    (host.root / "a").symlink_to("/b")
    (host.root / "b").symlink_to("/a")
    with pytest.raises(Refused, match="/a/c: its symbolic links form a loop: mend them"):
        host.path("/a/c")


def test_a_file_keeps_mode_and_link(host):
    target = host.root / "etc/target"
    target.write_text("old")
    target.chmod(0o640)
    (host.root / "etc/config").symlink_to("/etc/target")
    host.write("/etc/config", "new\r\n")
    assert (host.root / "etc/config").is_symlink()
    assert target.read_bytes() == b"new\r\n" and target.stat().st_mode & 0o777 == 0o640
    assert host.read("/etc/config") == "new\r\n"
    assert sorted(os.listdir(host.root / "etc")) == ["config", "target"]


def test_what_a_killed_write_leaves_goes(host):
    left = host.root / "etc/.config.kata-cpp"
    for end in (lambda: host.write("/etc/config", "new"), lambda: host.discard("/etc/config"),
                lambda: host.remove("/etc/config")):
        left.write_text("half")
        end()
        assert not left.exists()
    assert host.read("/etc/config") is None


def test_a_file_that_is_no_text_is_refused(host):
    assert host.read("/etc/none") is None
    (host.root / "etc/binary").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="read /etc/binary: .*: the file has to be UTF-8"):
        host.read("/etc/binary")


def test_a_command_that_fails_says_what_it_said():
    with pytest.raises(Refused, match="(?s)restart: .*-c .* ended with status 3: no such unit: look there"):
        Host("/").run([sys.executable, "-c", "import sys; print('no such unit'); sys.exit(3)"],
                      "restart", "look there")
    with pytest.raises(Refused, match="containerd: .*no-such-program.*: install it"):
        Host("/").run(["/no-such-program"], "containerd", "install it")


def test_processes_are_found_by_what_they_run(host):
    for pid, executable in (("12", "/opt/kata-cpp/bin/shim"), ("7", "/opt/kata-cpp/bin/shim (deleted)"),
                            ("8", "/usr/bin/other"), ("self", "/opt/kata-cpp/bin/shim")):
        (host.root / "proc" / pid).mkdir(parents=True)
        (host.root / "proc" / pid / "exe").symlink_to(executable)
    (host.root / "proc/9").mkdir()
    assert host.processes_of("/opt/kata-cpp/bin/shim") == [7, 12]

import json
import tomllib
from pathlib import Path

import pytest

import installer
from host import Host, Refused

SHIM = "opt/kata-cpp/bin/containerd-shim-kata-v2"


class Node(Host):
    """A node whose containerd has a configuration that is its file, and whose programs only tell that
    they ran."""

    def __init__(self, root, log):
        super().__init__(root)
        self.log = log
        self.failing = None

    def run(self, command, stage, remedy):
        words = list(map(str, command))
        if words == ["containerd", "--version"]:
            return "containerd github.com/containerd/containerd/v2 2.1.9 abc"
        if words[0] == "containerd":
            return self.read("/etc/containerd/config.toml")
        self.log.append(words[0])
        if words[0] == self.failing:
            raise Refused(stage, "it failed", remedy)
        return ""


class Label:
    def __init__(self, log):
        self._log = log

    def set(self):
        self._log.append("set label")

    def clear(self):
        self._log.append("clear label")


@pytest.fixture(name="node")
def node_fixture(tmp_path, monkeypatch):
    root = tmp_path / "node"
    for directory in ("etc/containerd", "opt", "proc", "usr/local/bin"):
        (root / directory).mkdir(parents=True)
    (root / "etc/containerd/config.toml").write_text("version = 3\n")
    (tmp_path / "artifacts/bin").mkdir(parents=True)
    (tmp_path / "artifacts/bin/containerd-shim-kata-v2").write_text("shim")
    node = Node(root, [])
    monkeypatch.setattr(installer.NodeLabel, "of_this_pod", lambda: Label(node.log))
    return node


@pytest.fixture(name="make")
def make_fixture(node, tmp_path):
    """A new process of the installer."""
    options = installer.parse(["install", "--artifacts", str(tmp_path / "artifacts"),
                               "--restart", "restart now"])
    return lambda: installer.Installer(node, options)


def test_the_label_comes_last_and_goes_first(node, make):
    make().install()
    assert node.log == ["/opt/kata-cpp/bin/kata-runtime", "restart", "set label"]
    assert (node.root / "usr/local/bin/containerd-shim-kata-v2").readlink() == Path("/") / SHIM
    node.log.clear()
    make().remove()
    assert node.log == ["clear label", "restart"]
    assert sorted(path.name for path in node.root.iterdir()) == ["etc", "opt", "proc", "usr"]
    assert not list((node.root / "opt").iterdir())
    assert not list((node.root / "usr/local/bin").iterdir())


def test_nothing_is_removed_below_running_pods(node, make):
    make().install()
    (node.root / "proc/42").mkdir()
    (node.root / "proc/42/exe").symlink_to(f"/{SHIM}")
    node.log.clear()
    with pytest.raises(Refused, match=r"pods: 1 of this runtime are running .*\(shims 42\): delete them"):
        make().remove()
    assert node.log == ["clear label"]
    assert (node.root / SHIM).exists() and "kata" in node.read("/etc/containerd/config.toml")


def test_a_node_that_cannot_run_pods_keeps_its_containerd(node, make):
    node.failing = "/opt/kata-cpp/bin/kata-runtime"
    with pytest.raises(Refused, match="check of the node: it failed: .*apt-get install qemu-system-x86"):
        make().install()
    assert node.read("/etc/containerd/config.toml") == "version = 3\n"
    assert "set label" not in node.log and "restart" not in node.log


def test_a_handler_that_was_never_verified_is_made_anew(node, make):
    """As a killed installer leaves it."""
    make().install()
    state = node.root / "opt/kata-cpp" / installer.STATE
    state.write_text(json.dumps({"containerd": installer.CONFIGURING}))
    config = node.root / "etc/containerd/config.toml"
    config.write_text(config.read_text().replace("io.containerd.kata.v2", "half.written"))
    node.log.clear()
    make().install()
    plugins = tomllib.loads(config.read_text())["plugins"]
    handler = plugins["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]["kata"]
    assert handler["runtime_type"] == "io.containerd.kata.v2"
    assert "restart" in node.log


def test_a_newer_installers_handler_takes_the_place_of_the_older(node, make, monkeypatch):
    make().install()
    table = installer.ContainerdConfig._body  # pylint: disable=protected-access
    monkeypatch.setattr(installer.ContainerdConfig, "_body",
                        lambda self, version: table(self, version) + "  snapshotter = 'native'\n")
    node.log.clear()
    make().install()
    text = node.read("/etc/containerd/config.toml")
    assert text.count("runtime_type") == 1 and "snapshotter = 'native'" in text
    assert "restart" in node.log


def test_artifacts_that_are_not_there_are_told(node, make, tmp_path):
    (tmp_path / "artifacts/bin/containerd-shim-kata-v2").unlink()
    with pytest.raises(Refused, match="artifacts: .*: build the image from what tools/package makes"):
        make().install()
    assert not list((node.root / "opt").iterdir())


def test_another_runtimes_shim_is_left_alone(node, make):
    other = node.root / "usr/local/bin/containerd-shim-kata-v2"
    other.symlink_to("/opt/kata/bin/containerd-shim-kata-v2")
    with pytest.raises(Refused, match="shim: /usr/local/bin/containerd-shim-kata-v2 is there and not the "
                                      "installer's: remove what has put it there"):
        make().install()
    make().remove()
    assert other.is_symlink() and not list((node.root / "opt").iterdir())
    assert node.read("/etc/containerd/config.toml") == "version = 3\n"

"""The nodes' installer, as its image has it, against directories that are a node's root: with the
configurations that administrators have, and the containerd that reads them. No systemd is here: the
restart is a command that leaves a trace."""

import os
import stat
import subprocess
import tomllib

import pytest

import newer_containerd

OURS = "io.containerd.kata.v2"
SHIM = "/opt/kata-cpp/bin/containerd-shim-kata-v2"
SYSTEM, NEWER, NEWEST = "1.6", *newer_containerd.SUITES
RESTART = "sh -c 'echo restarted >> /run/restarts'"
# $1: the node's root; $2: the directory of another containerd, or nothing. The mounts end with it; of
# this machine nothing can be written.
NODE = """\
set -eu
for place in usr proc dev; do mount --rbind "/$place" "$1/$place"; done
mount -o remount,bind,ro "$1/usr"
mount --bind "$1/local" "$1/usr/local"
if [ -n "$2" ]; then mount --bind "$2" "$1/usr/local/sbin"; fi
shift 2
exec "$@"
"""

RUNC = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
"""
DEBIAN = """version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
"""
BY_HAND = f"# Ours: ask before you touch it.\r\nversion = 2  # as kubeadm wants it\n{RUNC}\n\n# the end"
VERSION_3 = """imports = ["conf.d/*.toml", "/etc/other.toml"]
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "registry.example/pause:3"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
"""


def shown(settings):
    """What has a value: containerd shows more empty ones of a handler that is its default."""
    values = {key: shown(value) if isinstance(value, dict) else value
              for key, value in settings.items()}
    return {key: value for key, value in values.items() if value}


class Node:
    def __init__(self, root, context, programs):
        self.root = root
        self._program = context / "program/installer.py"
        self._artifacts = context / "kata-cpp"
        self._programs = programs
        for directory in ("usr", "proc", "dev", "opt", "run", "tmp", "etc/containerd",
                          "local/bin", "local/sbin"):
            (root / directory).mkdir(parents=True)
        for link in ("bin", "sbin", "lib", "lib64"):
            (root / link).symlink_to(f"usr/{link}")

    @property
    def config(self):
        return self.root / "etc/containerd/config.toml"

    def installer(self, command, restart=RESTART):
        return self._run("/usr/bin/python3", "-B", self._program, command, "--root", self.root,
                         "--artifacts", self._artifacts, "--restart", restart)

    def refused(self, command, **options):
        result = self.installer(command, **options)
        assert result.returncode == 1, result.stdout
        return result.stderr

    def done(self, command):
        result = self.installer(command)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def effective(self):
        """What this node's containerd makes of its configuration."""
        result = self._run("chroot", self.root, "containerd", "--config",
                           "/etc/containerd/config.toml", "config", "dump")
        assert result.returncode == 0, result.stderr
        return tomllib.loads(result.stdout)

    def handlers(self):
        plugins = self.effective()["plugins"]
        cri = plugins.get("io.containerd.cri.v1.runtime") or plugins["io.containerd.grpc.v1.cri"]
        return {name: shown(handler) for name, handler in cri["containerd"]["runtimes"].items()}

    def restarts(self):
        trace = self.root / "run/restarts"
        return len(trace.read_text().splitlines()) if trace.exists() else 0

    def tree(self):
        """Every path with its mode and what is in it."""
        return {str(path.relative_to(self.root)): (
                    stat.filemode(path.lstat().st_mode),
                    os.readlink(path) if path.is_symlink() else
                    path.read_bytes() if path.is_file() else None)
                for path in self.root.rglob("*") if path.name != "restarts"}

    def _run(self, *command):
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", NODE, "sh",
             str(self.root), str(self._programs or ""), *map(str, command)],
            check=False, capture_output=True, text=True)


@pytest.fixture
def make_node(installer_context, pytestconfig, tmp_path):
    """make_node(release of containerd, text of config.toml or None)"""
    def make(release, text):
        programs = None
        if release != SYSTEM:
            fetched = pytestconfig.getoption("--build").resolve() / "containerd"
            if not newer_containerd.available(fetched, release):
                pytest.skip(f"no containerd of Debian {release} in {fetched}")
            programs = newer_containerd.directory(fetched, release)
        node = Node(tmp_path / "node", installer_context, programs)
        if text is not None:
            node.config.write_bytes(text.encode())
            node.config.chmod(0o640)
        return node
    return make


@pytest.mark.parametrize("release, text, own_file", [
    (SYSTEM, DEBIAN, False), (SYSTEM, BY_HAND, False), (SYSTEM, None, False),
    (NEWER, "version = 2", False), (NEWEST, BY_HAND, False), (NEWEST, VERSION_3, True)],
    ids=["Debian", "by-hand", "none", "1.7-defaults", "2.1-version-2", "2.1-imports"])
def test_a_node_is_as_before_in_the_end(make_node, release, text, own_file):
    node = make_node(release, text)
    if own_file:
        (node.root / "etc/containerd/conf.d").mkdir()
        (node.root / "etc/containerd/conf.d/gc.toml").write_text(
            "version = 3\n[plugins.'io.containerd.gc.v1.scheduler']\n  deletion_threshold = 1\n")
    before = node.tree()
    handlers = node.handlers() if text else {"runc": None}
    node.done("install")
    installed = node.tree()
    node.done("install")
    assert node.tree() == installed and node.restarts() == 1
    now = node.handlers()
    assert now["kata"] == {"runtime_type": OURS, "privileged_without_host_devices": True,
                           "pod_annotations": ["io.katacontainers.*"]}
    assert set(now) == {"kata", *handlers}
    assert installed[SHIM[1:]][0] == "-rwxr-xr-x"
    assert installed["local/bin/containerd-shim-kata-v2"] == ("lrwxrwxrwx", SHIM)
    if text:
        assert {name: now[name] for name in handlers} == handlers
        assert (node.config.read_bytes() == text.encode()) == own_file
        assert installed["etc/containerd/config.toml"][0] == "-rw-r-----"
    node.done("remove")
    assert node.tree() == before and node.restarts() == 2
    node.done("remove")
    assert node.tree() == before and node.restarts() == 2


@pytest.mark.parametrize("text, message", [
    ("[plugins.cri]\n", "has version 1: the installer knows 2 and 3: `containerd config migrate`"),
    ('version = 2\ndisabled_plugins = ["cri"]\n', "disabled_plugins has ['cri']: kubelet needs"),
    (DEBIAN + RUNC.replace("runc", "kata"), "containerd has a handler kata already (io.containerd.kata.v2): "
                                            "remove it"),
    ('version = 2\n[plugins]\n"io.containerd.grpc.v1.cri" = {containerd = {runtimes = {}}}\n',
     "write the plugin's settings as [tables]"),
    ('version = 2\nimports = ["/etc/containerd/cri.toml"]\n', "a file that config.toml imports overrides it")],
    ids=["version-1", "disabled", "handler", "inline", "overridden"])
def test_what_is_not_understood_is_refused(make_node, text, message):
    node = make_node(SYSTEM, text)
    (node.root / "etc/containerd/cri.toml").write_text(DEBIAN + RUNC)
    before = node.tree()
    assert message in node.refused("install")
    assert node.config.read_text() == text and node.restarts() == 0
    node.done("remove")
    assert node.tree() == before and node.restarts() == 0


def test_a_broken_configuration_is_left_alone(make_node):
    node = make_node(SYSTEM, "version = 2\n[broken\n")
    for command in ("install", "remove"):
        assert "read /etc/containerd/config.toml: Expected ']'" in node.refused(command)
    assert node.config.read_text() == "version = 2\n[broken\n" and node.restarts() == 0


def test_what_an_administrator_edits_is_not_lost(make_node):
    node = make_node(SYSTEM, BY_HAND)
    node.done("install")
    defaults = node.root / "opt/kata-cpp/share/defaults/kata-containers/configuration.toml"
    edited = node.config.read_bytes().replace(b"  privileged_without_host_devices = true\n",
                                              b'  container_annotations = ["example.org/*"]\n')
    node.config.write_bytes(edited + b"\n[metrics]\n")
    defaults.write_text("[hypervisor.qemu]\ndefault_memory = 512\n")
    assert "config.toml has been edited" in node.done("install")
    assert node.config.read_bytes() == edited + b"\n[metrics]\n"
    node.done("remove")
    assert node.config.read_bytes().decode() == BY_HAND + "\n\n[metrics]\n"
    assert "container_annotations" in (node.root / "etc/containerd/kata-cpp.edited").read_text()
    assert defaults.read_text() == "[hypervisor.qemu]\ndefault_memory = 512\n"
    assert not (node.root / SHIM[1:]).exists()


def test_a_restart_that_failed_is_made_up_for(make_node):
    node = make_node(SYSTEM, DEBIAN)
    before = node.tree()
    assert "restart of containerd: false ended with status 1" in node.refused("install", restart="false")
    node.done("install")
    assert node.restarts() == 1
    assert "restart of containerd" in node.refused("remove", restart="false")
    node.done("remove")
    assert node.tree() == before and node.restarts() == 2

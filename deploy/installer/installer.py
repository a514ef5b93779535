"""Puts the runtime onto a Kubernetes node, and takes it away again: the program of the DaemonSets in
daemonset.yaml and remove.yaml. It can be repeated at any time, also after it was killed."""

import argparse
import json
import shlex
import sys
from pathlib import Path

import installed_files
from containerd_config import ContainerdConfig
from host import Host, Refused
from node_label import NodeLabel

SHIM = Path("bin/containerd-shim-kata-v2")
CHECK = Path("bin/kata-runtime")
# On the PATH of containerd, which finds the shim there. A handler's runtime_path would not do: 1.6 does
# not heed it, and newer ones, when they start, not for all containers of a pod that they find.
LINK = Path("/usr/local/bin") / SHIM.name
# Below the prefix: what has been done to containerd.
STATE = Path("share/kata-containers/installer.json")
CONFIGURING, RESTART_DUE, DONE = "configuring", "restart due", "done"


def main(arguments=None):
    options = parse(arguments)
    installer = Installer(Host(options.root), options)
    try:
        (installer.install if options.command == "install" else installer.remove)()
    except Refused as refused:
        sys.exit(f"{options.command}: {refused}")
    except OSError as error:
        sys.exit(f"{options.command}: {error.filename}: {error.strerror}: the node's file systems have "
                 "to be mounted and writable for root")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="installer", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("command", choices=("install", "remove"))
    parser.add_argument("--root", default="/host", help="the node's root (default: %(default)s)")
    parser.add_argument("--artifacts", type=Path, default=Path("/kata-cpp"),
                        help="what is installed (default: %(default)s)")
    parser.add_argument("--prefix", type=Path, default=Path("/opt/kata-cpp"),
                        help="to where on the node (default: %(default)s)")
    parser.add_argument("--config", default="/etc/containerd/config.toml",
                        help="containerd's, on the node (default: %(default)s)")
    parser.add_argument("--handler", default="kata",
                        help="containerd's name for it (default: %(default)s)")
    parser.add_argument("--restart", default="systemctl restart containerd", metavar="COMMAND",
                        help="how the node restarts containerd; empty: not at all (default: "
                        "%(default)s)")
    options = parser.parse_args(arguments)
    if not options.handler.replace("-", "").isalnum() or not options.handler.isascii():
        parser.error(f"--handler {options.handler!r}: letters, digits and '-' only")
    return options


class Installer:
    def __init__(self, host, options):
        self._host = host
        self._options = options
        self._prefix = host.path(options.prefix)
        self._config = ContainerdConfig(host, options.config, options.handler)

    def install(self):
        label = NodeLabel.of_this_pod()
        self._config.check()
        self._copy()
        self._link()
        self._host.run([self._options.prefix / CHECK, "check"], "check of the node",
                       "see what it says; QEMU and virtiofsd are the node's own: on Debian, "
                       "apt-get install qemu-system-x86")
        # A handler that is there and has not been verified is made anew.
        if self._state() not in (RESTART_DUE, DONE) or not self._config.is_current():
            self._set_state(CONFIGURING)
            self._config.remove()
            self._config.add()
            self._set_state(RESTART_DUE)
        if self._state() == RESTART_DUE:
            self._restart()
            self._set_state(DONE)
        if label:
            label.set()

    def remove(self):
        label = NodeLabel.of_this_pod()
        if label:
            # First, so that no more pods come.
            label.clear()
        shims = self._host.processes_of(self._options.prefix / SHIM)
        if shims:
            raise Refused("pods", f"{len(shims)} of this runtime are running on the node (shims "
                          f"{', '.join(map(str, shims))})", "delete them: kubectl drain NODE, or "
                          "delete what has runtimeClassName: kata; this is tried again by itself")
        present = self._config.is_present()
        if present:
            self._set_state(RESTART_DUE)
            self._config.remove()
        if present or self._state() == RESTART_DUE:
            self._restart()
        self._host.remove(self._options.prefix / STATE)
        if self._is_linked():
            self._link_path().unlink()
        installed_files.uninstall(self._prefix)

    def _copy(self):
        artifacts = self._options.artifacts
        files = {path.relative_to(artifacts): path for path in artifacts.rglob("*") if path.is_file()}
        if SHIM not in files:
            raise Refused("artifacts", f"{artifacts / SHIM} is not there",
                          "build the image from what tools/package makes")
        installed_files.install(self._prefix, files)

    def _link(self):
        if self._is_linked():
            return
        try:
            self._link_path().symlink_to(self._options.prefix / SHIM)
        except FileExistsError as error:
            raise Refused("shim", f"{LINK} is there and not the installer's", "remove what has put it "
                          "there: another runtime of the same name, or tools/install") from error

    def _is_linked(self):
        link = self._link_path()
        return link.is_symlink() and link.readlink() == self._options.prefix / SHIM

    def _link_path(self):
        return self._host.path(LINK.parent) / LINK.name

    def _restart(self):
        if self._options.restart:
            self._host.run(shlex.split(self._options.restart), "restart of containerd",
                           "see journalctl -u containerd on the node; --restart names another command")

    def _state(self):
        try:
            return json.loads((self._prefix / STATE).read_text())["containerd"]
        except FileNotFoundError:
            return None

    def _set_state(self, state):
        if (self._prefix / STATE).parent.is_dir():
            self._host.write(self._options.prefix / STATE, json.dumps({"containerd": state}) + "\n")


if __name__ == "__main__":
    main()

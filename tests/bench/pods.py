"""Containers in a private containerd, for the benchmarks."""

import contextlib
import json
import time
from pathlib import Path

import memory
import oci_image
import project
from private_containerd import PrivateContainerd

KATA, RUNC = "io.containerd.kata.v2", "io.containerd.runc.v2"
DIRECTORY = project.BUILD / "bench"
# Not below DIRECTORY: paths of sockets are short.
STATE_ROOT = Path("/run/kata-bench")
IDLE_NAME = "kata-bench-idle"
# After this a pod's processes have done what they do at their start.
IDLE_AFTER_S = 2


class Pods:
    """A running containerd with an image. Close it."""

    def __init__(self, build):
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        self.containerd = PrivateContainerd(DIRECTORY / "containerd", build.shim_directory,
                                            conf_file=_write_configuration(build))
        self.containerd.start()
        try:
            self.containerd.import_image(
                oci_image.build_busybox_image(DIRECTORY / "busybox.tar"))
            self._snapshotter = self.containerd.snapshotters()[0]
        except BaseException:
            self.close()
            raise

    def close(self):
        self.containerd.stop()
        with contextlib.suppress(OSError):
            STATE_ROOT.rmdir()

    def run(self, runtime, name, *command, detach=False):
        """`ctr run`, to its end or detached."""
        self.containerd.ctr(*self._run_args(runtime, name, command, detach))

    def run_argv(self, runtime, name, *command):
        """`ctr run --rm` as a command line for a caller that reads its output."""
        return self.containerd.ctr_argv(*self._run_args(runtime, name, command, False))

    def exec(self, name, exec_id, *command):
        """`ctr task exec` to its end, in a container that runs."""
        self.containerd.ctr("tasks", "exec", "--exec-id", exec_id, name, *command)

    def remove(self, name):
        self.containerd.ctr("tasks", "rm", "-f", name)
        self.containerd.ctr("containers", "rm", name)

    def idle_processes(self, runtime):
        """The host's processes of a pod that sleeps."""
        self.run(runtime, IDLE_NAME, "sleep", "1000", detach=True)
        try:
            time.sleep(IDLE_AFTER_S)
            return memory.processes_mentioning(f"{STATE_ROOT}/", IDLE_NAME)
        finally:
            self.remove(IDLE_NAME)

    def _run_args(self, runtime, name, command, detach):
        return ("run", "--detach" if detach else "--rm", "--snapshotter", self._snapshotter,
                "--runtime", runtime, oci_image.BUSYBOX_IMAGE, name, *command)


def _write_configuration(build):
    path = DIRECTORY / "configuration.toml"
    # A JSON string is a TOML basic string.
    path.write_text(f"[hypervisor.qemu]\nkernel = {json.dumps(str(build.kernel))}\n"
                    f"initrd = {json.dumps(str(build.initrd))}\n"
                    # A busy machine makes a slow figure, not a failure.
                    f"[agent.kata]\ndial_timeout = 120\n"
                    f"[runtime]\nstate_root = {json.dumps(str(STATE_ROOT))}\n")
    return path

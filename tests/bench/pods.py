"""Containers in a private containerd, for the benchmarks."""

import contextlib
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import kata_configuration
import memory
import oci_image
import project
from private_containerd import ContainerdError, PrivateContainerd
from support.leaks import remove_namespace_cgroups

DIRECTORY = project.BUILD / "bench"
# Not below DIRECTORY: paths of sockets are short.
STATE_ROOT = Path("/run/kata-bench")
# containerd's, and with it the name of the parent cgroup.
NAMESPACE = "kata-bench"
IDLE_NAME = "kata-bench-idle"
# After this a pod's processes have done what they do at their start.
IDLE_AFTER_S = 2
# Twenty pods may start at once on two CPUs that emulate theirs.
START_DEADLINE_S = 600


@dataclass(frozen=True)
class Runtime:
    """What `ctr run` is told, and for ours what differs in configuration.toml: table -> settings."""
    type: str
    ctr_options: tuple = ()
    settings: dict = field(default_factory=dict, hash=False)


KATA, RUNC = Runtime("io.containerd.kata.v2"), Runtime("io.containerd.runc.v2")


class Pods:
    """A running containerd with an image. Close it."""

    def __init__(self, build, programs=None, name="containerd", snapshotter=None, **containerd):
        """programs: path in the image -> file, beside busybox. name: of its directory. snapshotter:
        another one than the best; containerd: options of PrivateContainerd for it."""
        self._build = build
        self.image = "localhost/kata-bench:latest" if programs else oci_image.BUSYBOX_IMAGE
        archive = DIRECTORY / ("bench.tar" if programs else "busybox.tar")
        if programs:
            archive.unlink(missing_ok=True)  # The one that is there may be of another build.
        self._configuration = DIRECTORY / "configuration.toml"
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        STATE_ROOT.mkdir(mode=0o700, exist_ok=True)
        self._configure(KATA)
        self.containerd = PrivateContainerd(DIRECTORY / name, build.shim_directory,
                                            conf_file=self._configuration, **containerd)
        self.containerd.start()
        try:
            archive = oci_image.build_busybox_image(archive, self.image, programs)
            if snapshotter:
                self.ctr("image", "import", "--local", "--snapshotter", snapshotter, archive)
            else:
                self.containerd.import_image(archive, namespace=NAMESPACE)
            self._snapshotter = snapshotter or self.containerd.snapshotters()[0]
        except BaseException:
            self.close()
            raise

    def close(self):
        self.containerd.stop()
        # What is not empty stays, for whoever looks for the cause.
        with contextlib.suppress(OSError):
            remove_namespace_cgroups(NAMESPACE)
        with contextlib.suppress(OSError):
            STATE_ROOT.rmdir()  # not while another one has pods

    def ctr(self, *args):
        return self.containerd.ctr(*args, namespace=NAMESPACE)

    def ctr_argv(self, *args):
        """For a caller that reads its output."""
        return self.containerd.ctr_argv(*args, namespace=NAMESPACE)

    def run(self, runtime, name, *command, detach=False):
        """`ctr run`, to its end or detached."""
        self.ctr(*self._run_args(runtime, name, command, detach=detach))

    def run_argv(self, runtime, name, *command, options=()):
        """`ctr run --rm` as a command line for a caller that reads its output."""
        return self.ctr_argv(*self._run_args(runtime, name, command, options=options))

    def run_at_once(self, runtime, names, *command):
        """As many `ctr run --detach`, all started before the first is waited for."""
        starts = []
        try:
            for name in names:
                starts.append(subprocess.Popen(
                    self.ctr_argv(*self._run_args(runtime, name, command, detach=True)),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    text=True))
            said = [start.communicate(timeout=START_DEADLINE_S)[1] for start in starts]
        except BaseException:
            for start in starts:
                start.kill()
                start.wait()
            raise
        for name, start, errors in zip(names, starts, said):
            if start.returncode != 0:
                raise ContainerdError(f"ctr run of {name} ended with status {start.returncode}: "
                                      f"{errors.strip()}")

    def exec(self, name, exec_id, *command):
        """`ctr task exec` to its end, in a container that runs."""
        self.ctr("tasks", "exec", "--exec-id", exec_id, name, *command)

    def time_exec(self, name, exec_id):
        """Milliseconds of `ctr task exec … true`."""
        began = time.perf_counter()
        self.exec(name, exec_id, "true")
        return (time.perf_counter() - began) * 1000

    def remove(self, name):
        self.ctr("tasks", "rm", "-f", name)
        self.ctr("containers", "rm", name)

    @contextlib.contextmanager
    def removed_at_end(self, names):
        """These, as far as they have been made."""
        try:
            yield
        finally:
            there = self.ctr("containers", "ls", "-q").stdout.split()
            tasks = self.ctr("tasks", "ls", "-q").stdout.split()
            for name in names:
                if name in tasks:
                    self.ctr("tasks", "rm", "-f", name)
                if name in there:
                    self.ctr("containers", "rm", name)

    @staticmethod
    def idle_usages(*names):
        """Of the pods' processes on the host, when they have done what they do at their start."""
        time.sleep(IDLE_AFTER_S)
        return memory.processes_mentioning(f"{STATE_ROOT}/", *names)

    def idle_processes(self, runtime):
        """The host's processes of a pod that sleeps."""
        self.run(runtime, IDLE_NAME, "sleep", "1000", detach=True)
        try:
            return self.idle_usages(IDLE_NAME)
        finally:
            self.remove(IDLE_NAME)

    def _run_args(self, runtime, name, command, detach=False, options=()):
        self._configure(runtime)
        return ("run", "--detach" if detach else "--rm", "--snapshotter", self._snapshotter,
                "--runtime", runtime.type, *runtime.ctr_options, *options, self.image, name, *command)

    def _configure(self, runtime):
        """Shims read the file when they start."""
        tables = {
            "hypervisor.qemu": {"kernel": str(self._build.kernel), "initrd": str(self._build.initrd)},
            # A busy machine makes a slow figure, not a failure.
            "agent.kata": {"dial_timeout": START_DEADLINE_S},
            "runtime": {"state_root": str(STATE_ROOT)},
        }
        for table, settings in runtime.settings.items():
            tables[table] = {**tables.get(table, {}), **settings}
        kata_configuration.write(self._configuration, tables)

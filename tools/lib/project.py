"""The project's build: configure, compile, guest image, and where the results are."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
GUEST = BUILD / "guest"
TUNED_GUEST = BUILD / "guest-tuned"
LOGS = BUILD / "log"
GUEST_IMAGE_BUILDER = TOP / "guest-image/build"
# Programs of newer_containerd.py.
NEWER_CONTAINERDS = BUILD / "containerd"
SHIM, RUNTIME, AGENT = "containerd-shim-kata-v2", "kata-runtime", "kata-agent"
PROGRAMS = (SHIM, RUNTIME, AGENT)
# Compiling against gRPC and Asio's coroutines takes this much memory per compiler.
COMPILER_MEMORY_MIB = 1200


def configure(stage, build=BUILD, options=("-Dbuildtype=debugoptimized",), compiler=None):
    """Meson finds ccache by itself. Configuring again is ninja's business. `compiler`: another one
    than Meson's choice."""
    if not (build / "build.ninja").exists():
        environment = {**os.environ, "CXX": compiler} if compiler else None
        stage.run(["meson", "setup", build, TOP, *options], cwd=TOP, env=environment)


def compile_targets(stage, *paths, build=BUILD):
    """Builds these files of the build directory; none named: everything, tests included."""
    stage.run(["ninja", "-C", build, f"-j{_jobs()}", *(path.relative_to(build) for path in paths)])


def build_guest_image(stage):
    stage.run([GUEST_IMAGE_BUILDER, "--agent", target(AGENT), "--out", GUEST])


def build_tuned_guest_image(stage):
    stage.run([GUEST_IMAGE_BUILDER, "--kernel", "tuned", "--agent", target(AGENT),
               "--out", TUNED_GUEST])


@contextlib.contextmanager
def tuned_kernel_in_background():
    """Compiles it, unless the cache has it, while something else is done; at the lowest priority.
    build_tuned_guest_image() waits for it, and reports what went wrong."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (open(LOGS / "tuned-kernel-in-background.log", "wb") as log,
          subprocess.Popen([GUEST_IMAGE_BUILDER, "--kernel", "tuned", "--prepare"],
                           stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process):
        try:
            yield
        finally:
            process.terminate()


def target(name, build=BUILD):
    """Where Meson puts the target of this name."""
    for entry in _introspect("targets", build):
        if entry["name"] == name:
            return Path(entry["filename"][0])
    raise LookupError(f"the build defines no target {name}")


def host_modules(build=BUILD):
    """Libraries that the runtime loads only when they are configured (the libvirt launcher)."""
    return [Path(entry["filename"][0]) for entry in _introspect("targets", build)
            if entry["type"] == "shared module"]


def version(build=BUILD):
    return _introspect("projectinfo", build)["version"]


def test_programs(suite, build):
    """Name of each of the suite's tests -> the programs of ours that it runs."""
    files = {entry["id"]: Path(entry["filename"][0]) for entry in _introspect("targets", build)}
    return {test["name"]: [files[target_id] for target_id in test["depends"]]
            for test in _introspect("tests", build) if f"kata-cpp:{suite}" in test["suite"]}


def _introspect(what, build=BUILD):
    result = subprocess.run(["meson", "introspect", f"--{what}", str(build)], check=True,
                            capture_output=True, text=True)
    return json.loads(result.stdout)


def _jobs():
    available_kib = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()
                         if line.startswith("MemAvailable:"))
    return max(1, min(len(os.sched_getaffinity(0)), available_kib // 1024 // COMPILER_MEMORY_MIB))

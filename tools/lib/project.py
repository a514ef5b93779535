"""The project's build: configure, compile, guest image, and where the results are."""

import json
import os
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
GUEST = BUILD / "guest"
LOGS = BUILD / "log"
SHIM, RUNTIME, AGENT = "containerd-shim-kata-v2", "kata-runtime", "kata-agent"
PROGRAMS = (SHIM, RUNTIME, AGENT)
# Compiling against gRPC and Asio's coroutines takes this much memory per compiler.
COMPILER_MEMORY_MIB = 1200


def configure(stage):
    """Meson finds ccache by itself. Configuring again is ninja's business."""
    if not (BUILD / "build.ninja").exists():
        stage.run(["meson", "setup", BUILD, TOP, "-Dbuildtype=debugoptimized"], cwd=TOP)


def compile_targets(stage, *paths):
    """Builds these files of the build directory; none named: everything, tests included."""
    stage.run(["ninja", "-C", BUILD, f"-j{_jobs()}", *(path.relative_to(BUILD) for path in paths)])


def build_guest_image(stage):
    stage.run([TOP / "guest-image/build", "--agent", target(AGENT), "--out", GUEST])


def target(name, build=BUILD):
    """Where Meson puts the target of this name."""
    for entry in _targets(build):
        if entry["name"] == name:
            return Path(entry["filename"][0])
    raise LookupError(f"the build defines no target {name}")


def host_modules(build=BUILD):
    """Libraries that the runtime loads only when they are configured (the libvirt launcher)."""
    return [Path(entry["filename"][0]) for entry in _targets(build) if entry["type"] == "shared module"]


def _targets(build):
    result = subprocess.run(["meson", "introspect", "--targets", str(build)], check=True,
                            capture_output=True, text=True)
    return json.loads(result.stdout)


def _jobs():
    available_kib = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()
                         if line.startswith("MemAvailable:"))
    return max(1, min(len(os.sched_getaffinity(0)), available_kib // 1024 // COMPILER_MEMORY_MIB))

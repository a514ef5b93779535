"""tools/bench: what our runtime costs, measured beside runc and beside a bare QEMU."""

import argparse
import os
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path += [str(TOP / "tools/lib"), str(TOP / "guest-image")]

# pylint: disable=wrong-import-position
import packages
import project
import start_benchmark
from build import Build
from progress import Progress

NEEDS_ROOT = "tools/bench has to run as root: it starts containers and VMs. Run: sudo tools/bench …"


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        sys.exit(NEEDS_ROOT)
    progress = Progress("bench", project.LOGS)
    build = Build(arguments.build) if arguments.build else make_build(progress)
    missing = build.missing()
    if missing:
        sys.exit(f"bench: the build lacks {', '.join(map(str, missing))}")
    start_benchmark.run(progress, build, arguments.runs, arguments.json)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__.partition(": ")[2])
    benchmarks = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    start = benchmarks.add_parser("start", help="from `ctr run` to its end, with memory when idle")
    start.add_argument("--runs", type=positive, default=11, metavar="N",
                       help="measured runs of each kind, interleaved (default: %(default)s)")
    start.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    start.add_argument("--build", type=Path, metavar="DIR",
                       help="measure this build as it is, instead of making one in build/")
    return parser.parse_args()


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number


def make_build(progress):
    with progress.stage("packages", failures=(packages.PackagesMissing,)) as stage:
        packages.install(stage.run, "build", "run")
    with progress.stage("configure") as stage:
        project.configure(stage)
    with progress.stage("build") as stage:
        project.compile_targets(stage, *map(project.target, (project.SHIM, project.AGENT,
                                                             Build.FLOOR_INIT)))
    with progress.stage("guest image") as stage:
        project.build_guest_image(stage)
    return Build(project.BUILD)


if __name__ == "__main__":
    main()

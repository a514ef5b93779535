"""tools/bench: what our runtime costs, measured beside runc and beside a bare QEMU."""

import argparse
import os
import signal
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path += [str(TOP / "tools/lib"), str(TOP / "guest-image"), str(TOP / "tests/e2e")]

# pylint: disable=wrong-import-position
import all_benchmark
import benchmarks
import exec_benchmark
import packages
import project
import start_benchmark
import stdio_benchmark
from build import Build
from progress import Progress

NEEDS_ROOT = "tools/bench has to run as root: it starts containers and VMs. Run: sudo tools/bench …"


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        sys.exit(NEEDS_ROOT)
    # Whoever ends a run early finds nothing left, either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by SIGTERM"))
    progress = Progress("bench", project.LOGS)
    directory = arguments.build or make_build(progress)
    build = Build(directory, arguments.guest)
    missing = build.missing()
    if missing:
        sys.exit(f"bench: the build lacks {', '.join(map(str, missing))}")
    arguments.run(progress, build, arguments)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    everything = add_benchmark(commands, "all", "everything, on every peer, with plots", 11)
    everything.add_argument("--short", action="store_true", help="each benchmark once, with small "
                            "sizes: for CI, which only wants to know that they work")
    everything.add_argument("--only", type=names, metavar="NAME[,NAME]", help="of "
                            f"{', '.join(benchmark.NAME for benchmark in benchmarks.load())}")
    everything.add_argument("--out", type=Path, metavar="DIR", default=project.TOP / "docs/benchmarks",
                            help="where results.json, results.md and the plots go "
                            "(default: docs/benchmarks)")
    everything.set_defaults(run=all_benchmark.run)
    start = add_benchmark(commands, "start", "from `ctr run` to its end, with memory when idle", 11)
    start.set_defaults(run=lambda progress, build, given: start_benchmark.run(
        progress, build, given.runs, given.json))
    execs = add_benchmark(commands, "exec", "`ctr task exec`, and a thousand of them in a row", 51)
    execs.add_argument("--in-a-row", type=positive, default=1000, metavar="N",
                       help="execs in one container, for the curve (default: %(default)s)")
    execs.set_defaults(run=lambda progress, build, given: exec_benchmark.run(
        progress, build, given.runs, given.in_a_row, given.json))
    stdio = add_benchmark(commands, "stdio", "throughput of a container's stdout", 5)
    stdio.add_argument("--mib", type=positive, default=256, metavar="N",
                       help="size of each run (default: %(default)s)")
    stdio.set_defaults(run=lambda progress, build, given: stdio_benchmark.run(
        progress, build, given.runs, given.mib, given.json))
    return parser.parse_args()


def add_benchmark(commands, name, what, runs):
    parser = commands.add_parser(name, help=what)
    parser.add_argument("--runs", type=positive, default=runs, metavar="N",
                        help="measured runs of each kind, interleaved (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--build", type=Path, metavar="DIR",
                        help="measure this build as it is, instead of making one in build/")
    parser.add_argument("--guest", type=Path, metavar="DIR",
                        help="with the guest image of this directory instead of the build's")
    return parser


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number


def names(text):
    known = [benchmark.NAME for benchmark in benchmarks.load()]
    for name in text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"no benchmark {name}: there are {', '.join(known)}")
    return text.split(",")


def make_build(progress):
    with progress.stage("packages", failures=(packages.PackagesMissing,)) as stage:
        packages.install(stage.run, "build", "run")
    with progress.stage("configure") as stage:
        project.configure(stage)
    with progress.stage("build") as stage:
        project.compile_targets(stage, *map(project.target, (project.SHIM, project.AGENT,
                                                             *Build.PROGRAMS)))
    with progress.stage("guest image") as stage:
        project.build_guest_image(stage)
    return project.BUILD


if __name__ == "__main__":
    main()

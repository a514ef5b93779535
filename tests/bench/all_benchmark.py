"""`tools/bench all`: every benchmark of benchmarks/ on every peer, interleaved, in one go."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import benchmarks
import disks
import guest_programs
import leftovers
import machine
import packages
import pods
import runsc
import stdio_benchmark
from all_report import AllFigures
from peers import ContainerPeer, FloorPeer
from progress import CommandFailed

FAILURES = (*stdio_benchmark.FAILURES, leftovers.Leftovers)
TEMPLATE = pods.Runtime(pods.KATA.type, settings={"factory": {
    "template": "auto", "template_path": str(pods.DIRECTORY / "templates")}})


def run(progress, build, given):
    chosen = [benchmark for benchmark in benchmarks.load()
              if not given.only or benchmark.NAME in given.only]
    figures = AllFigures(command_line(given), short=given.short)
    load_before = os.getloadavg()[0]
    with progress.stage("packages", (packages.PackagesMissing,)) as stage:
        packages.install(stage.run, "bench")
        with contextlib.suppress(CommandFailed):
            packages.install(stage.run, runsc.PACKAGE_GROUP)
    with contextlib.ExitStack() as stack:
        with progress.stage("containerd", FAILURES):
            programs = guest_programs.files(build)
            containers = stack.enter_context(contextlib.closing(pods.Pods(build, programs)))
        with progress.stage("peers", FAILURES) as stage:
            stack.enter_context(leftovers.checked(containers))
            sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="kata-bench-"))
            peers = _make_peers(stage, stack, containers, build, programs, Path(sockets), figures)
            figures.machine = _machine(peers, load_before)
        for benchmark in chosen:
            with progress.stage(benchmark.NAME, FAILURES) as stage:
                _measure(stage, benchmark, peers, figures, given)
        with progress.stage("clean-up", FAILURES):
            stack.close()
    with progress.stage("report"):
        _write(figures, given)
    progress.finish()
    print(figures.text())


def command_line(given):
    """What repeats this run: without the options that only say where things are."""
    options = ["--runs", str(given.runs)] if not given.short else ["--short"]
    only = ["--only", ",".join(given.only)] if given.only else []
    return " ".join(["tools/bench", "all", *options, *only])


def _make_peers(stage, stack, containers, build, programs, sockets, figures):
    share = guest_programs.make_share(pods.DIRECTORY / "share", programs)
    try:
        on_disks = stack.enter_context(contextlib.closing(
            disks.open_pods(stage, build, programs, pods.DIRECTORY / "disks")))
    except disks.NotUsable as error:
        on_disks = None
        _leave_out(stage, figures, "roots on disks", str(error), error.__cause__)

    def container(name, runtime):
        return ContainerPeer(name, containers, runtime, share / "data", on_disks)

    peers = [FloorPeer("floor", build, pods.DIRECTORY, sockets, share,
                       containers.idle_processes(pods.KATA)),
             container("cold", pods.KATA)]
    # Its first pod makes the template.
    containers.run(TEMPLATE, "kata-bench-template", "true")
    peers.append(container("template", TEMPLATE))
    peers.append(container("runc", pods.RUNC))
    try:
        figures.runsc_platform, runtime = runsc.find(containers)
        peers.append(container("runsc", runtime))
    except runsc.NotUsable as error:
        _leave_out(stage, figures, "runsc", str(error), error.__cause__)
    return peers


def _leave_out(stage, figures, peer, reason, cause):
    """The cause may name paths of this machine: it is shown, not published."""
    figures.left_out[peer] = reason
    stage.show(f"{peer} is left out: {reason}" + (f" ({cause})" if cause else ""))


def _machine(peers, load_before):
    by_name = {peer.name: peer for peer in peers}
    guest_kernel = by_name["cold"].output("/bin/uname", "-r").decode().strip()
    return machine.facts(load_before, by_name["floor"].runtime_argv, guest_kernel)


def _measure(stage, benchmark, peers, figures, given):
    """All peers in each round. The first round warms the caches and does not count, except where
    rounds are so long that it makes no difference."""
    able = [peer for peer in peers if isinstance(peer, benchmark.NEEDS)]
    rounds = 1 if given.short else min(given.runs, benchmark.RUNS or given.runs)
    warm_up = not given.short and benchmark.RUNS is None
    for number in range(0 if warm_up else 1, rounds + 1):
        for peer in able:
            stage.show(f"{number} of {rounds}: {peer.name}" if number else f"warming up: {peer.name}")
            samples = benchmark.run(peer, given.short)
            if number:
                figures.add(benchmark, peer.name, samples)


def _write(figures, given):
    # Of a package that may have been installed only just now.
    import plots  # pylint: disable=import-outside-toplevel
    given.out.mkdir(parents=True, exist_ok=True)
    written = json.dumps(figures.to_json(), indent=2) + "\n"
    (given.out / "results.json").write_text(written)
    if given.json:
        given.json.write_text(written)
    pictures = {benchmark.NAME: plots.write(given.out / f"{benchmark.NAME}.svg", benchmark, rows)
                for benchmark, rows in figures.tables()}
    (given.out / "results.md").write_text(figures.markdown(pictures))

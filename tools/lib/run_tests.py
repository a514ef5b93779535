"""tools/test: installs what the tests need, builds, runs them and sums them up."""

import argparse
import contextlib
import json
import os
import re
import sys
import xml.etree.ElementTree
from dataclasses import dataclass, field

import fuzzing
import newer_containerd
import packages
import project
from progress import CommandFailed, Progress

# The fuzz targets for a moment, in the plain build.
FUZZ_SMOKE, FUZZ_SMOKE_S = "fuzz-smoke", 30
SUITES = ("unit", FUZZ_SMOKE, "integration", "conformance", "e2e", "bench")
# Not part of "all": end-to-end tests that take minutes each.
SLOW = "slow"
# Neither: half an hour of an emulated processor, and packages from Debian's archive.
SOFTWARE = "software"
# Neither: an hour, since the host is emulated as well. What differs where there is KVM, or is not in
# every machine's kernel: the VM itself, vsock, networks, control groups of version 2. Not with several
# processors in a VM: QEMU 7.2's emulation of the host ends then.
KVM = "kvm"
KVM_TESTS = tuple(project.TOP / "tests/e2e" / f"test_{name}.py" for name in (
    "lifecycle", "template", "clock", "reclaim", "host_cgroup", "metrics", "network"))
# Neither: each compiles everything once more.
SANITIZERS = {"asan": "address,undefined", "tsan": "thread"}
# ThreadSanitizer is for what has threads, or shares memory with the guest. Not for the agent: it cannot
# see how Debian's gRPC, which is not instrumented, hands things from thread to thread.
ONLY = {"tsan": ("common", "vsock", "shim-command", "shim-events", "shim-io", "shim-service",
                 "shim-ttrpc")}
# The child of clone(CLONE_VM) runs in the parent's memory, which ThreadSanitizer takes for races.
CATCH_FILTER = {"tsan": "~[process]"}
PYTHON_UNIT_TESTS = tuple(project.TOP / name for name in ("guest-image", "tools", "deploy", "tests/bench"))
# What a kernel can break: the isolation itself, processes, terminals, cgroups, memory, disks, network,
# the order of the ends.
TUNED_KERNEL_TESTS = tuple(project.TOP / "tests/e2e" / f"test_{name}.py" for name in (
    "isolation", "terminal", "task_api", "update", "oom", "hugepages", "reclaim", "template",
    "block_roots", "network"))
# Not part of "all": the instrumented build takes minutes.
FUZZ, FUZZ_S = "fuzz", 600
OUTPUT_TAIL_LINES = 40
# Of Meson's 30 s a test executable: for machines that are busy with something else, too.
TIMEOUT_MULTIPLIER = 10
# How Catch2 2.x sums up an executable.
CATCH_PASSED = re.compile(r"All tests passed \(\d+ assertions? in (\d+) test cases?\)")
CATCH_FAILED = re.compile(r"test cases: (\d+) \|(?: (\d+) passed \|)? (\d+) failed")


@dataclass
class Totals:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    # What failed: a line that names it, and what it said.
    failures: list[str] = field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def main():
    parser = argparse.ArgumentParser(prog="tools/test", description=__doc__.partition(": ")[2])
    parser.add_argument("suite", nargs="?", default="all",
                        choices=(*SUITES, "all", SLOW, SOFTWARE, KVM, *SANITIZERS, FUZZ))
    parser.add_argument("--tuned-kernel", action="store_true", help="with the end-to-end tests: compile "
                        "the tuned guest kernel meanwhile, and run some of them with it, too")
    parser.add_argument("--seconds", type=int, default=FUZZ_S,
                        help="how long the fuzz targets run (default: %(default)s)")
    arguments = parser.parse_args()
    suite = arguments.suite
    suites = SUITES if suite == "all" else (suite,)
    require_root(suites)

    progress = Progress("test", project.LOGS)
    tuned_kernel = arguments.tuned_kernel and "e2e" in suites
    install_packages(progress, *(("kernel",) if tuned_kernel else ()),
                     *((suite,) if suite in (FUZZ, SOFTWARE, KVM) else ()),
                     *((FUZZ_SMOKE,) if FUZZ_SMOKE in suites else ()))
    with project.tuned_kernel_in_background() if tuned_kernel else contextlib.nullcontext():
        totals = (run_sanitizer(progress, suite) if suite in SANITIZERS
                  else run_fuzz(progress, arguments.seconds, fuzzing.build, fuzzing.BUILD)
                  if suite == FUZZ
                  else run(progress, suites))
        if tuned_kernel:
            totals.add(run_with_tuned_kernel(progress))
    # Once more at the end: a log of thousands of lines is often kept without its middle.
    for failure in totals.failures:
        print(f"\nFAILED {failure}", flush=True)
    progress.finish()
    print(totals, flush=True)
    sys.exit(1 if totals.failed else 0)


def run(progress, suites):
    totals = Totals()
    prepare(progress, suites)
    if "unit" in suites:
        totals.add(run_checks(progress))
        totals.add(run_meson(progress, "unit"))
        totals.add(run_pytest(progress, "unit of the tools", *PYTHON_UNIT_TESTS))
    if FUZZ_SMOKE in suites:
        totals.add(run_fuzz(progress, FUZZ_SMOKE_S, fuzzing.build_smoke, project.BUILD))
    if "integration" in suites:
        totals.add(run_meson(progress, "integration"))
    if "conformance" in suites:
        totals.add(run_pytest(progress, "conformance", project.TOP / "tests/conformance"))
    if "e2e" in suites:
        fetch_newer_containerds(progress)
        totals.add(run_pytest(progress, "e2e", project.TOP / "tests/e2e"))
    if SLOW in suites:
        totals.add(run_pytest(progress, "slow e2e", "--slow", project.TOP / "tests/e2e"))
    if "bench" in suites:
        totals.add(run_benchmarks(progress))
    if KVM in suites:
        totals.add(run_pytest(progress, KVM, *KVM_TESTS,
                              host=(project.TOP / "tests/kvm/run", "--results", project.LOGS)))
    if SOFTWARE in suites:
        totals.add(run_pytest(progress, SOFTWARE, project.TOP / "tests/software"))
    return totals


def require_root(suites):
    if os.geteuid() != 0 and not set(suites) <= {"unit", *SANITIZERS}:
        sys.exit("tools/test: fuzz targets, integration, conformance, e2e and software tests and "
                 "benchmarks have to run as root (VMs, mounts, containerd); 'tools/test unit' does not")


def install_packages(progress, *more):
    with progress.stage("packages", failures=(packages.PackagesMissing,)) as stage:
        packages.install(stage.run, "build", "run", "test", "bench", *more)


def prepare(progress, suites):
    with progress.stage("configure") as stage:
        project.configure(stage)
    with progress.stage("build") as stage:
        project.compile_targets(stage)
    if set(suites) != {"unit"}:
        with progress.stage("guest image") as stage:
            project.build_guest_image(stage)


def fetch_newer_containerds(progress):
    """Tests are skipped, and say so, where a suite cannot be reached."""
    with progress.stage("newer containerds") as stage:
        for suite in newer_containerd.SUITES:
            try:
                newer_containerd.fetch(stage.run, project.NEWER_CONTAINERDS, suite)
            except (CommandFailed, LookupError) as error:
                print(f"no containerd of Debian {suite}: {error}", flush=True)


def run_with_tuned_kernel(progress):
    with progress.stage("tuned guest image") as stage:
        project.build_tuned_guest_image(stage)
    return run_pytest(progress, "e2e with the tuned kernel", f"--guest={project.TUNED_GUEST}",
                      "--runtime=kata", *TUNED_KERNEL_TESTS)


def run_checks(progress):
    totals = Totals()
    for name, command in (("layers", [project.TOP / "tools/check-layers"]),
                          ("format", [project.TOP / "tools/format", "--check"])):
        with progress.stage(name) as stage:
            totals.add(single(name, stage.run(command, check=False, echo=True)))
    return totals


def single(name, status):
    """The totals of a check that is one test, by its exit status."""
    if status == 0:
        return Totals(passed=1)
    return Totals(failed=1, failures=[f"{name}: status {status}"])


def run_fuzz(progress, seconds, make, build):
    """Each target is a test."""
    with progress.stage("fuzz targets") as stage:
        make(stage)
    with progress.stage("fuzz") as stage:
        outcomes = fuzzing.run(stage, seconds, build)
    totals = Totals()
    for outcome in outcomes:
        found = [described(f"fuzz: {outcome}", "\n".join(outcome.findings))] if outcome.findings else []
        totals.add(Totals(passed=not found, failed=bool(found), failures=found))
    return totals


def run_benchmarks(progress):
    """Only whether they work: no figure of the short form makes one fail. All of them are one test."""
    with progress.stage("benchmarks") as stage:
        return single("benchmarks", stage.run(
            [project.TOP / "tools/bench", "all", "--short", "--build", project.BUILD,
             "--out", project.LOGS / "benchmarks"], check=False, echo=True))


def run_sanitizer(progress, name):
    """The unit tests in a build of their own, below build/."""
    build = project.BUILD / name
    with progress.stage("configure") as stage:
        # Not optimised: that compiles three times as fast, and hides nothing.
        project.configure(stage, build, ("-Dbuildtype=debug", f"-Db_sanitize={SANITIZERS[name]}"))
    programs = {test: files for test, files in project.test_programs("unit", build).items()
                if test in ONLY.get(name, (test,))}
    with progress.stage("build") as stage:
        project.compile_targets(stage, *sum(programs.values(), []), build=build)
    return run_meson(progress, "unit", build, tests=programs, catch_filter=CATCH_FILTER.get(name))


def run_meson(progress, suite, build=project.BUILD, tests=(), catch_filter=None):
    """`tests`: names, of the suite's only these; `catch_filter`: of their test cases only these."""
    log = build / f"meson-logs/testlog-{suite}.json"
    log.unlink(missing_ok=True)
    with progress.stage(suite) as stage:
        status = stage.run(["meson", "test", "-C", build, "--no-rebuild", "--suite", suite,
                            "--logbase", f"testlog-{suite}", "--timeout-multiplier",
                            TIMEOUT_MULTIPLIER,
                            *([f"--test-args={catch_filter}"] if catch_filter else []), *tests],
                           check=False, echo=True,
                           env={**os.environ, "KATA_TEST_GUEST_DIR": str(project.GUEST)})
    totals = Totals()
    if log.exists():
        for line in log.read_text().splitlines():
            totals.add(meson_result(json.loads(line)))
    # Meson can fail without a failed test: no such suite, a broken build directory.
    if status != 0 and totals.failed == 0:
        totals.add(single(f"meson test --suite {suite}", status))
    return totals


def meson_result(test):
    """The test cases of one executable; one that is not of Catch2 counts as one."""
    output = (test.get("stdout") or "") + (test.get("stderr") or "")
    if test["result"] == "SKIP":
        return Totals(skipped=1)
    if test["result"] == "OK":
        counted = CATCH_PASSED.search(output)
        return Totals(passed=int(counted.group(1)) if counted else 1)
    failures = [described(f"{test['name']}: {test['result']}", output)]
    counted = CATCH_FAILED.search(output)
    if not counted:
        return Totals(failed=1, failures=failures)
    return Totals(int(counted.group(2) or 0), int(counted.group(3)), failures=failures)


def described(name, output):
    return "\n  ".join((name, *output.splitlines()[-OUTPUT_TAIL_LINES:]))


def run_pytest(progress, name, *arguments, host=()):
    """host: the command that runs it on another one."""
    report = project.LOGS / f"{name.replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)
    with progress.stage(name) as stage:
        status = stage.run([*host, "/usr/bin/python3", "-B", "-m", "pytest", "-v", "--tb=short",
                            "-p", "no:cacheprovider", f"--junitxml={report}", *arguments],
                           check=False, echo=True, cwd=project.TOP)
    totals = pytest_result(report) if report.exists() else Totals()
    if status != 0 and totals.failed == 0:
        totals.add(single(f"pytest, {name}", status))
    return totals


def pytest_result(report):
    totals = Totals()
    root = xml.etree.ElementTree.parse(report).getroot()
    for suite in root.iter("testsuite"):
        failed = int(suite.get("failures")) + int(suite.get("errors"))
        skipped = int(suite.get("skipped"))
        totals.add(Totals(int(suite.get("tests")) - failed - skipped, failed, skipped))
    for test in root.iter("testcase"):
        for problem in (*test.iter("failure"), *test.iter("error")):
            totals.failures.append(described(f"{test.get('classname')}::{test.get('name')}",
                                             problem.text or problem.get("message") or ""))
    return totals


if __name__ == "__main__":
    main()

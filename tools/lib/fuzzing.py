"""The fuzz targets (tests/fuzz): their builds, and runs of all of them side by side.

The target of the agent's calls does what it is told by its inputs: it runs as a user of its own, in
namespaces of its own, from a directory of its own; tests/fuzz/jail.h says what each is for.
"""

import contextlib
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import project

COMPILER = "clang++-19"
BUILD = project.BUILD / "fuzz"
FINDINGS = project.LOGS / "fuzz"
SEEDS = project.TOP / "tests/fuzz/corpus"
# Owns nothing on any host: not nobody, as whom others run, too.
JAIL_USER = 64989
CGROUP_HIERARCHIES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
# Far more than an input takes: a machine may be busy with other things. What takes longer than the
# other one is kept, and no failure: an exec that cannot be made waits a second for its container's end.
INPUT_LIMIT_S = 10
SLOW_INPUT_S = 1
MEMORY_LIMIT_MIB = 2048
# What a target may take to end after its time.
GRACE_S = 120
SLOW_PREFIX = "slow-unit-"
FINDING_PREFIXES = ("crash-", "leak-", "oom-", "timeout-")
# Everything as the plain build has it: it adds the targets to that one.
SMOKE_OPTION = "-Dfuzz=plain"
REPORT = re.compile(r"(?:ERROR: (?:Address|Leak)Sanitizer|runtime error:|ERROR: libFuzzer:|fuzz: ).*")
EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
COVERAGE = re.compile(r" cov: (\d+) ")


@dataclass(frozen=True)
class Target:
    name: str
    max_input_bytes: int
    # In the tree; None: the build makes them, as *.session.
    seeds: Path | None
    jailed: bool = False


TARGETS = (
    Target("oci", 16384, SEEDS / "oci"),
    Target("agent-rpc", 16384, None, jailed=True),
    Target("guest-output", 4096, SEEDS / "guest_output"),
    Target("vsock-device", 1536, SEEDS / "vsock_device"),
)


@dataclass
class Outcome:
    target: Target
    executions: int
    # 0 where the build does not count it.
    coverage: int
    findings: list[str]

    def __str__(self):
        reached = f", {self.coverage} places reached" if self.coverage else ""
        return f"{self.target.name}: {self.executions} inputs{reached}, {len(self.findings)} findings"


def build(stage):
    # Optimised a little: as it compiles fastest, an input takes three times as long.
    project.configure(stage, BUILD, (
        "-Dfuzz=instrumented", "-Dbuildtype=plain", "-Doptimization=1", "-Ddebug=true", "-Dwerror=false",
        "-Db_sanitize=address,undefined", "-Db_lundef=false"), compiler=COMPILER)
    project.compile_targets(stage, BUILD / "fuzz", build=BUILD)


def build_smoke(stage):
    stage.run(["meson", "configure", project.BUILD, SMOKE_OPTION])
    project.compile_targets(stage, project.BUILD / "fuzz")


def run(stage, seconds, build, targets=TARGETS):
    """All targets of this build at once, each for so long. Their findings are in FINDINGS."""
    shutil.rmtree(FINDINGS, ignore_errors=True)
    FINDINGS.mkdir(parents=True)
    deadline = time.monotonic() + seconds + GRACE_S
    with contextlib.ExitStack() as stack:
        running = [(target, *stack.enter_context(_started(target, seconds, build))) for target in targets]
        for _, process, _, _ in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        outcomes = [_outcome(target, process, log, work) for target, process, log, work in running]
    for outcome in outcomes:
        stage.show(str(outcome), last=True)
    return outcomes


@contextlib.contextmanager
def _started(target, seconds, build):
    log_path = FINDINGS / f"{target.name}.log"
    with (tempfile.TemporaryDirectory(prefix="kata-fuzz-") as directory,
          contextlib.ExitStack() as stack, open(log_path, "wb") as log):
        work = Path(directory)
        command = _prepare(target, work, seconds, build / "tests/fuzz")
        group = None
        if target.jailed:
            group = stack.enter_context(_control_group())
            command = _locked_in(command)
        process = subprocess.Popen(
            command, cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "KATA_AGENT": str(work / "fake-init"),
                 "UBSAN_OPTIONS": "print_stacktrace=1"},
            preexec_fn=None if group is None else lambda: _enter(group))
        try:
            yield process, log_path, work
        finally:
            process.kill()
            process.wait()


def _prepare(target, work, seconds, built):
    """Everything that the target needs is in its directory: it can see no other, where it is locked
    in."""
    program = f"{target.name}-fuzz"
    for name in (program, "fake-init"):
        shutil.copy(built / name, work)
    corpus, seeds = work / "corpus", work / "seeds"
    corpus.mkdir()
    seeds.mkdir()
    # A target may have none.
    for seed in target.seeds.glob("*") if target.seeds else built.glob("*.session"):
        shutil.copy(seed, seeds)
    if target.jailed:
        for path in (work, corpus, *seeds.iterdir(), seeds):
            os.chown(path, JAIL_USER, JAIL_USER)
    return [f"./{program}", f"-max_total_time={seconds}", f"-timeout={INPUT_LIMIT_S}",
            f"-report_slow_units={SLOW_INPUT_S}", f"-rss_limit_mb={MEMORY_LIMIT_MIB}",
            f"-max_len={target.max_input_bytes}", "-len_control=0", "-artifact_prefix=./",
            # Without counters nothing that an input reaches is new, and no seed would be kept.
            "-print_final_stats=1", "-keep_seed=1", "corpus", "seeds"]


def _locked_in(command):
    return ["setpriv", f"--reuid={JAIL_USER}", f"--regid={JAIL_USER}", "--clear-groups",
            "unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child",
            "--mount", "--mount-proc", "--net", "--ipc", "--uts", "--cgroup", *command]


@contextlib.contextmanager
def _control_group():
    """One that the locked-in user may make others in."""
    hierarchy = next(path for path in CGROUP_HIERARCHIES if (path / "cgroup.procs").exists())
    group = hierarchy / f"kata-fuzz-{os.getpid()}"
    group.mkdir()
    try:
        for path in (group, group / "cgroup.procs", group / "cgroup.subtree_control"):
            os.chown(path, JAIL_USER, JAIL_USER)
        yield group
    finally:
        _kill_all_in(group)
        for path, _, _ in os.walk(group, topdown=False):
            os.rmdir(path)


def _kill_all_in(group):
    """What a target that was killed has left behind dies a little later."""
    (group / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + GRACE_S
    with open(group / "cgroup.events", encoding="ascii") as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while "populated 1" in events.read() and time.monotonic() < deadline:
            poll.poll(1000 * GRACE_S)
            events.seek(0)


def _enter(group):
    (group / "cgroup.procs").write_text("0")


def _outcome(target, process, log_path, work):
    log = log_path.read_text(errors="replace")
    findings = [line.group(0) for line in REPORT.finditer(log)]
    for path in work.iterdir():
        kept = FINDINGS / f"{target.name}-{path.name}"
        if path.name.startswith((SLOW_PREFIX, *FINDING_PREFIXES)):
            shutil.copy(path, kept)
        if path.name.startswith(FINDING_PREFIXES):
            findings.append(f"input: {kept}")
    executions = sum(map(int, EXECUTIONS.findall(log)))
    if not findings and (process.returncode != 0 or executions == 0):
        findings.append(f"status {process.returncode}: {' '.join(log.splitlines()[-3:])}")
    return Outcome(target, executions, max(map(int, COVERAGE.findall(log)), default=0), findings)

"""PostgreSQL as its users run it: a cluster of its own, pgbench, both kinds of shared memory, a backend
that is killed, a stop without a checkpoint and the recovery. Prints what is the same in every run."""

import glob
import os
import re
import select
import signal
import subprocess

[PROGRAMS] = glob.glob("/usr/lib/postgresql/*/bin")
DATA = "/var/lib/postgresql/software"
RUN = "/tmp"
DEADLINE_S = 600
READY = "database system is ready to accept connections"
# What a server says of a crash.
TOLD = re.compile(r"FATAL: .*|PANIC: .*|database system was not properly shut down|redo starts|redo done|"
                  r"all server processes terminated; reinitializing|received \w+ shutdown request|"
                  r"database system is shut down|was terminated by signal \d+")
AS_POSTGRES = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": "/var/lib/postgresql"}
SUMS = """select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
and (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers)
and (select count(*) from pgbench_accounts) = 100000"""
NUMBERS = "select md5(string_agg(md5(n::text), ',' order by n)), count(*), sum(n) from numbers"


class Server:
    """A postmaster in the foreground: its log is what tells that something has happened."""

    def __init__(self, *settings):
        # A checkpoint of its own accord would leave the recovery with nothing to do.
        options = [word for setting in ("checkpoint_timeout=1h", *settings) for word in ("-c", setting)]
        self._process = subprocess.Popen(
            [f"{PROGRAMS}/postgres", "-D", DATA, "-k", RUN, *options], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **AS_POSTGRES)
        self._log = ""
        self.wait_ready()

    def wait_ready(self):
        self._read()
        assert READY in self._log, f"the server has ended: {self._log}"
        self._tell()

    def stop(self, how):
        """fast: SIGINT; immediate, without a checkpoint: SIGQUIT."""
        self._process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how])
        status = self._process.wait(DEADLINE_S)
        self._read()
        self._tell()
        print("server ended:", how, status)

    def _read(self):
        """The log until the server is ready, or its end."""
        while READY not in self._log:
            assert select.select([self._process.stderr], [], [], DEADLINE_S)[0], self._log
            chunk = os.read(self._process.stderr.fileno(), 65536).decode()
            if not chunk:
                break
            self._log += chunk

    def _tell(self):
        for told in TOLD.finditer(self._log):
            print("log:", told.group())
        self._log = ""


def main():
    run("initdb", "--auth=trust", "--locale=C.UTF-8", "--data-checksums", "--no-instructions", DATA)
    server = Server()
    for setting in ("fsync", "shared_memory_type", "dynamic_shared_memory_type", "max_connections",
                    "wal_sync_method", "data_checksums"):
        print(setting, query(f"show {setting}"))
    pgbench("default")
    kill_a_backend(server)
    query("create table numbers as select generate_series(1, 50000) n; checkpoint")
    query("insert into numbers select generate_series(50001, 100000)")
    server.stop("immediate")
    server = Server()
    print("numbers", query(NUMBERS))
    print("sums", query(SUMS))
    server.stop("fast")
    server = Server("shared_memory_type=sysv", "dynamic_shared_memory_type=sysv")
    print("shared_memory_type", query("show shared_memory_type"))
    print("segments", len(sysv_segments()) > 0)
    parallel()
    pgbench("sysv")
    server.stop("fast")
    print("segments afterwards", len(sysv_segments()))


def run(program, *arguments, quiet=True):
    done = subprocess.run([f"{PROGRAMS}/{program}", *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False, timeout=DEADLINE_S,
                          **AS_POSTGRES)
    print(program, done.returncode, done.stderr if done.returncode else "")
    return done.stdout


def query(sql):
    done = subprocess.run(psql("-c", sql), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False, timeout=DEADLINE_S, **AS_POSTGRES)
    return (done.stdout + done.stderr).strip()


def psql(*arguments):
    return [f"{PROGRAMS}/psql", "-h", RUN, "-d", "postgres", "-XAtq", *arguments]


def pgbench(what):
    run("pgbench", "-h", RUN, "-i", "-s", "1", "-q", "postgres")
    output = run("pgbench", "-h", RUN, "-c", "4", "-j", "2", "-t", "50", "-n", "postgres")
    print("pgbench", what, *re.findall(r"number of (?:transactions actually processed|failed).*", output))
    print("sums", query(SUMS))


def parallel():
    """Workers share memory with their leader, of the kind that was chosen."""
    print("parallel", query("set parallel_setup_cost = 0; set parallel_tuple_cost = 0; "
                            "set min_parallel_table_scan_size = 0; "
                            "select count(*), sum(n) from numbers"))


def kill_a_backend(server):
    """The server ends all others, and recovers."""
    with subprocess.Popen(psql(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, **AS_POSTGRES) as session:
        session.stdin.write("select pg_backend_pid();\n")
        session.stdin.flush()
        os.kill(int(session.stdout.readline()), signal.SIGKILL)
        server.wait_ready()
        session.communicate("select 1;\n", timeout=DEADLINE_S)
        print("session", session.returncode)
    print("sums", query(SUMS))


def sysv_segments():
    with open("/proc/sysvipc/shm", encoding="ascii") as table:
        return table.read().splitlines()[1:]


main()

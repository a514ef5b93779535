import os
import subprocess
import sys

import memory
from memory import Process


def test_pss_is_read_in_megabytes():
    assert memory.pss_mb("00400000-7ffc rollup\nRss:  3000 kB\nPss:  1000 kB\nPss_Dirty: 5 kB\n") == 1.024


def test_processes_are_found_by_an_argument():
    found = memory.processes_mentioning("memory_test.py", "pytest")
    assert any(os.path.basename(usage.program).startswith("python") and usage.pss_mb > 1
               for usage in found)


def test_descendants_belong_to_those_that_are_named():
    shim, other = Process(10, 1, ("shim", "-id", "pod-1")), Process(11, 1, ("shim", "-id", "pod-2"))
    # A sandbox's own processes have no arguments.
    child, grandchild = Process(12, 10, ("sandbox",)), Process(9, 12, ())
    assert memory.with_descendants([grandchild, shim, other, child, Process(13, 11, ())],
                                   ["pod-1"]) == [grandchild, shim, child]


def test_mappings_of_memory_files_are_told_apart():
    smaps = """7f0000000000-7f0010000000 rw-s 00000000 00:01 5 /memfd:guest-ram (deleted)
Size: 262144 kB
Pss: 3000 kB
Pss_Dirty: 3000 kB
7f0020000000-7f0030000000 rw-p 00000000 00:00 0
Pss: 70 kB
7f0040000000-7f0050000000 rw-s 00000000 00:01 5 /memfd:guest-ram (deleted)
Pss: 1000 kB
"""
    assert memory.mapped_memory_files_mb(smaps) == 4.096


def test_a_memory_file_that_nobody_has_mapped_counts():
    marker = "a-memory-file-of-a-test"
    program = f"""import os, sys  # {marker}
os.write(os.memfd_create("ram"), bytes(50_000_000)); print(flush=True); sys.stdin.read()"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found = memory.processes_mentioning(marker)
        process.stdin.close()
    [held] = [usage for usage in found if usage.program == "memory files, not mapped"]
    assert 50 <= held.pss_mb < 51

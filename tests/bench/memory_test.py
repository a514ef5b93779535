import os

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

import os

import memory


def test_pss_is_read_in_megabytes():
    assert memory.pss_mb("00400000-7ffc rollup\nRss:  3000 kB\nPss:  1000 kB\nPss_Dirty: 5 kB\n") == 1.024


def test_processes_are_found_by_an_argument():
    found = memory.processes_mentioning("memory_test.py", "pytest")
    assert any(os.path.basename(usage.program).startswith("python") and usage.pss_mb > 1
               for usage in found)

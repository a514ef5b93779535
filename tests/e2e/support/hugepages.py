"""Huge pages of the host."""

import contextlib
from pathlib import Path

import pytest

PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
PAGE_MIB = 2


@contextlib.contextmanager
def pages_of_the_host(mib):
    """So many free ones more, or the test is skipped."""
    if not PAGES.exists():
        pytest.skip("this host's kernel has no huge pages of 2 MiB")
    count = PAGES / "nr_hugepages"
    before = int(count.read_text())
    wanted = before + mib // PAGE_MIB
    try:
        count.write_text(f"{wanted}\n")
        if int(count.read_text()) < wanted:
            pytest.skip(f"this host has no memory for {mib} MiB of huge pages")
        yield
    finally:
        count.write_text(f"{before}\n")

import sys

import pytest
import timed_output


def run(program):
    return timed_output.run([sys.executable, "-c", program])


def test_first_byte_last_byte_and_end_are_told_apart():
    output = run("import os, time\n"
                 "os.write(1, b'a'); time.sleep(0.1); os.write(1, b'b'); os.close(1)\n"
                 "time.sleep(0.1)")
    assert (output.size, output.stdout) == (2, b"ab")
    assert output.last_ms - output.first_ms > 90
    assert output.total_ms - output.last_ms > 90


def test_without_output_the_end_counts():
    output = run("")
    assert output.size == 0
    assert output.first_ms == output.last_ms == output.total_ms > 0


def test_large_output_is_counted_and_its_head_kept():
    output = run("import sys; sys.stdout.write('x' * 3_000_000)")
    assert output.size == 3_000_000
    assert output.stdout == b"x" * timed_output.CHUNK


def test_a_failure_says_what_was_printed():
    with pytest.raises(timed_output.CommandFailed, match="status 3 after 0 bytes: broken"):
        run("import sys; sys.stderr.write('broken'); raise SystemExit(3)")

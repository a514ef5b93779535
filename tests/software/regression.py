"""What Python's regression tests say: one outcome for each test."""

import re
import xml.etree.ElementTree
from collections import Counter

# Ends what the tests print and begins the report.
MARK = "== junit =="
REPORT = "/tmp/report.xml"
# Of an error that names what is different in every run.
VARIABLE = re.compile(r"0x[0-9a-f]+|\b\d{3,}\b|@test_\d+_tmp\w*|/tmp/\w+")
# Python 3.11 waits for ever when 0.3 s pass before its first communicate() has written the input:
# the second one, which gets none, does not write it either.
LEFT_OUT = "test_communicate_timeout"


def command(module):
    """For a shell: runs the test module and prints its report."""
    return (f"cd /tmp && python3 -m test -u subprocess --ignore {LEFT_OUT} --junit-xml {REPORT} "
            f"{module} 2>&1; "
            f"echo '{MARK}' && cat {REPORT}")


def outcomes(output):
    """Name of each test -> ok, skipped (with its reason), failed or error (with the last line)."""
    _, mark, report = output.partition(f"{MARK}\n")
    assert mark and report, f"no report: {output[-4000:]}"
    result = {}
    for case in xml.etree.ElementTree.fromstring(report).iter("testcase"):
        result[case.get("name")] = _outcome(case)
    return result


def _outcome(case):
    for kind in ("failure", "error"):
        problem = case.find(kind)
        if problem is not None:
            lines = "".join(problem.itertext()).strip().splitlines() or [""]
            return f"{kind}: {VARIABLE.sub('…', lines[-1])}"
    skipped = case.find("skipped")
    if skipped is not None:
        return f"skipped: {(skipped.text or skipped.get('message') or '').strip()}"
    return "ok"


def counted(results):
    return dict(Counter(outcome.partition(":")[0] for outcome in results.values()))

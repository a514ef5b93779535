"""A container of ours sees what one of runc's does: every row of rows/, under both."""

import itertools

import pytest
from harness import differences, rows
from harness.answer import equal

ROWS = rows.load()
DIFFERENCES = differences.load()
FEWEST_ROWS = 150
_numbers = itertools.count(1)


def _id(row):
    return row.id


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_row(row, request, runc, bundles, pytestconfig):
    # Both in containers of the same id, one after the other.
    container = f"row-{next(_numbers)}"
    with bundles.make(container, row) as bundle:
        expected = runc.run(container, bundle, row)
    if pytestconfig.getoption("--show"):
        print(f"\n{row.id}: {expected}")
    _check_reference(row, expected)
    if pytestconfig.getoption("--runtime") == "runc":
        return
    pod = request.getfixturevalue("pod")
    with bundles.make(container, row) as bundle:
        ours = pod.run(container, bundle, row)
    pod.check_alive()
    _compare(row, expected, ours)


def _check_reference(row, expected):
    """That the row is about what its author thought."""
    assert expected.refused == bool(row.refused), f"runc: {expected}"
    assert expected.has(row.refused or row.shows), f"runc: {expected}"
    assert expected.refused or expected.output + expected.errors, f"a row that says nothing; runc: {expected}"


def _compare(row, expected, ours):
    listed = [entry for entry in DIFFERENCES if row.id in entry.rows]
    same = equal(expected, ours, row.refused)
    if not listed:
        assert same, f"runc: {expected}\nours: {ours}"
        return
    assert not same, "listed in differences.yaml, but equal"
    assert ours.has(listed[0].ours), f"differs, but not as listed: {ours}"


def test_there_are_enough_rows():
    assert len(ROWS) >= FEWEST_ROWS


def test_differences_are_of_rows_that_exist():
    listed = [row for entry in DIFFERENCES for row in entry.rows]
    assert set(listed) <= {row.id for row in ROWS}
    assert len(listed) == len(set(listed)), "a row is listed twice"


def test_document_lists_the_differences():
    assert differences.DOCUMENT.read_text() == differences.document(DIFFERENCES)

import run_tests


def meson(result, stdout=""):
    totals = run_tests.meson_result({"name": "common", "result": result, "stdout": stdout})
    return totals.passed, totals.failed, totals.skipped


def test_test_cases_of_catch_are_counted():
    assert meson("OK", "All tests passed (120 assertions in 17 test cases)\n") == (17, 0, 0)
    assert meson("OK", "All tests passed (1 assertion in 1 test case)\n") == (1, 0, 0)
    assert meson("FAIL", "test cases: 5 | 3 passed | 2 failed\nassertions: …") == (3, 2, 0)
    assert meson("FAIL", "test cases: 2 | 2 failed\n") == (0, 2, 0)


def test_other_executables_count_as_one():
    assert meson("OK") == (1, 0, 0)
    assert meson("TIMEOUT") == (0, 1, 0)
    assert meson("SKIP") == (0, 0, 1)


def test_pytest_reports_are_summed(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite errors="1" failures="2" skipped="3" tests="10"/>'
                      "</testsuites>")
    assert str(run_tests.pytest_result(report)) == "4 passed, 3 failed, 3 skipped"


def test_what_failed_is_named_with_the_end_of_what_it_said(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite errors="0" failures="1" skipped="0" tests="2">'
                      '<testcase classname="tests.e2e.test_exec" name="test_ps"/>'
                      '<testcase classname="tests.e2e.test_exec" name="test_cat[kata]">'
                      '<failure message="short">E  assert 1 == 2</failure></testcase>'
                      "</testsuite></testsuites>")
    assert run_tests.pytest_result(report).failures == [
        "tests.e2e.test_exec::test_cat[kata]\n  E  assert 1 == 2"]

    lines = [str(line) for line in range(100)]
    of_meson = run_tests.meson_result({"name": "vsock", "result": "TIMEOUT", "stdout": "\n".join(lines)})
    assert of_meson.failures[0].splitlines() == [
        "vsock: TIMEOUT", *(f"  {line}" for line in lines[-run_tests.OUTPUT_TAIL_LINES:])]


def test_totals_keep_what_failed_in_their_parts():
    totals = run_tests.Totals()
    totals.add(run_tests.single("format", 1))
    totals.add(run_tests.single("layers", 0))
    assert (totals.passed, totals.failed, totals.failures) == (1, 1, ["format: status 1"])

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

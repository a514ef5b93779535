import exec_report
import stdio_report
from usage import Usage


def test_exec_figures():
    figures = exec_report.ExecFigures(load_before=0, exec_ms={"kata": [30.0], "runc": [10.0]},
                                      usage_before=Usage(10, 4, 20480))
    figures.blocks.append(exec_report.Block(100, [31.0, 33.0], Usage(11, 5, 21504)))
    figures.beside_ms["stats"]["kata"] += [40.0, 50.0, 60.0]
    written = figures.to_json()
    assert [row["name"] for row in written["beside_a_stopped_reader"]] == ["stats"]
    assert written["ratio_to_runc"] == {"exec": 3.0, "runc exec": 1.0}
    assert written["in_a_row"] == [{"count": 100, "median_ms": 32.0, "p95_ms": 33.0, "shim": {
        "descriptors": 11, "threads": 5, "rss_kb": 21504}}]
    rows = [line.split() for line in figures.report().splitlines()]
    assert ["exec", "30", "30", "1", "3.00"] in rows
    assert ["stats", "50", "60", "60"] in rows
    assert ["0", "10", "4", "20.0"] in rows
    assert ["100", "32", "33", "11", "5", "21.0"] in rows


def test_stdio_figures_are_rates():
    figures = stdio_report.StdioFigures(256, 0, {"runc": [500.0], "kata": [1000.0],
                                                  "floor": [800.0]})
    written = figures.to_json()
    assert written["ratio_to_vsock"] == {"vsock": 1.0, "stdout": 0.8, "runc stdout": 1.6}
    assert written["ratio_to_runc"] == {"vsock": 0.625, "stdout": 0.5, "runc stdout": 1.0}
    assert [result["mib_per_s"] for result in figures.results()] == [320.0, 256.0, 512.0]
    assert ["stdout", "256", "1000", "1000", "1", "0.80", "0.50"] in [
        line.split() for line in figures.report().splitlines()]

import figures


def test_summary_has_the_form_of_the_json_file():
    assert figures.summary("cold", [30.0, 10.04, 20.0]) == {
        "name": "cold", "median_ms": 20.0, "p95_ms": 30.0, "runs": 3}


def test_percentile_is_one_of_the_values():
    values = list(range(1, 101))
    assert figures.percentile(values, 95) == 95
    assert figures.percentile([7], 95) == 7
    assert figures.percentile([2, 1], 50) == 1


def test_table_aligns_names_left_and_figures_right():
    assert figures.table(("", "ms"), [("floor", "5"), ("cold", "1234")]) == (
        "         ms\n"
        "floor     5\n"
        "cold   1234")


def test_the_percentile_of_a_rate_is_a_low_one():
    assert figures.summary("cold", [*range(100, 120)], "MiB/s", higher_is_better=True) == {
        "name": "cold", "median_mib_per_s": 109.5, "p95_mib_per_s": 100, "runs": 20}
    assert figures.summary("cold", [0.81234], "ratio")["median_ratio"] == 0.812

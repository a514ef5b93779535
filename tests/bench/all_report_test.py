import json

import pytest
from all_report import AllFigures, number
from benchmarks import file_io, first_output, pod_memory, start_stop

MACHINE = {"cpu": "A CPU", "cpus": 2, "memory_gib": 8.0, "kernel": "6.1", "load_before": 0.1,
           "accelerator": "tcg", "guest_memory": "256M", "guest_cpus": "cpus=1", "guest_kernel": "6.1.2",
           "versions": {"QEMU": "7.2", "runc": "1.1"}}


@pytest.fixture(name="figures")
def figures_fixture():
    figures = AllFigures("tools/bench all --runs 3", short=False, machine=MACHINE,
                         left_out={"template": "not there"}, runsc_platform="ptrace")
    for value in (100.0, 300.0, 200.0):
        figures.add(start_stop, "floor", {"start_stop": [value]})
        figures.add(start_stop, "cold", {"start_stop": [value * 1.5]})
    return figures


def test_results_are_those_of_start_and_stop(figures):
    written = json.loads(json.dumps(figures.to_json()))
    assert written["results"] == [
        {"name": "floor", "median_ms": 200.0, "p95_ms": 300.0, "runs": 3},
        {"name": "cold", "median_ms": 300.0, "p95_ms": 450.0, "runs": 3}]
    assert written["benchmarks"]["start-stop"]["start_stop"]["results"] == written["results"]
    assert written["command"] == "tools/bench all --runs 3"


def test_aims_compare_medians(figures):
    [aim] = figures.to_json()["aims"]
    assert (aim["peer"], aim["of"], aim["value"], aim["reached"]) == ("cold", "floor", 1.5, False)


def test_an_aim_of_a_rate_is_a_lower_bound(figures):
    figures.add(file_io, "floor", {"read_4k": [100.0]})
    figures.add(file_io, "cold", {"read_4k": [85.0]})
    aim = figures.to_json()["aims"][-1]
    assert (aim["figure"], aim["value"], aim["reached"]) == ("read_4k", 0.85, True)
    assert {"name": "cold", "median_mib_per_s": 85.0, "p95_mib_per_s": 85.0, "runs": 1} in (
        figures.to_json()["benchmarks"]["file-io"]["read_4k"]["results"])


def test_an_aim_without_its_peer_is_no_aim(figures):
    figures.add(first_output, "cold", {"first_output": [1.0]})
    assert [aim["benchmark"] for aim in figures.to_json()["aims"]] == ["start-stop"]


def test_markdown_has_the_peers_in_their_order(figures):
    figures.add(pod_memory, "runsc", {"pod_of_1": [50.0]})
    figures.add(pod_memory, "cold", {"pod_of_1": [120.0]})
    text = figures.markdown({"start-stop": "start-stop.svg", "memory": "memory.svg"})
    assert "|  | unit | cold | runsc | runs |" in text
    assert "| start to end | ms | 200 (300) | 300 (450) | 3 |" in text
    assert "- start to end: cold 1.50 of floor (aim: at most 1.25, not reached)" in text
    assert "left out: not there" in text
    assert "![Start and stop](start-stop.svg)" in text
    assert "platform ptrace" in text


def test_the_short_form_judges_nothing(figures):
    figures.short = True
    assert "aim" not in figures.text()


@pytest.mark.parametrize("value, text", [(1234.5, "1234"), (12.34, "12.3"), (0.1234, "0.12")])
def test_numbers_have_three_digits(value, text):
    assert number(value) == text

import all_benchmark
import benchmarks
from all_report import PEERS
from peers import Peer


class Given:
    runs, short, only = 7, False, None


def test_every_benchmark_has_what_the_others_have():
    found = benchmarks.load()
    assert len({benchmark.NAME for benchmark in found}) == len(found) > 5
    for benchmark in found:
        assert benchmark.TITLE and issubclass(benchmark.NEEDS, Peer)
        assert benchmark.RUNS is None or benchmark.RUNS > 1
        names = [figure.name for figure in benchmark.FIGURES]
        assert len(set(names)) == len(names) > 0
        for aim in benchmark.AIMS:
            assert aim.figure in names and {aim.peer, aim.of or aim.peer} <= set(PEERS)


def test_the_command_names_no_path():
    given = Given()
    assert all_benchmark.command_line(given) == "tools/bench all --runs 7"
    given.short, given.only = True, ["exec", "stdio"]
    assert all_benchmark.command_line(given) == "tools/bench all --short --only exec,stdio"

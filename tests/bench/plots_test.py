from xml.etree import ElementTree

import plots
from all_report import AllFigures
from benchmarks import file_io


def test_same_figures_same_bytes(tmp_path):
    figures = AllFigures("", short=False)
    for peer, rate in (("floor", 40.0), ("cold", 30.0), ("runc", 4000.0)):
        figures.add(file_io, peer, {"read_4k": [rate, rate / 2], "write_1m": [rate]})
    [(benchmark, rows)] = figures.tables()
    for name in ("one.svg", "two.svg"):
        assert plots.write(tmp_path / name, benchmark, rows) == name
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    texts = [element.text for element in ElementTree.parse(tmp_path / "one.svg").iter()
             if element.tag.endswith("}text")]
    assert {"cold", "runc", "sequential read, 4 KiB", "MiB/s, logarithmic"} <= set(texts)

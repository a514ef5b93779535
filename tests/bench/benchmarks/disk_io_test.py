import json

from . import disk_io


def test_every_figure_has_its_job():
    names = [word.partition("=")[2] for word in disk_io.arguments(64) if word.startswith("--name=")]
    assert names == ["global", *(figure.name for figure in disk_io.FIGURES)]


def test_rates_are_those_of_the_reads():
    report = {"jobs": [{"jobname": "read_4k", "read": {"bw_bytes": 3 << 20}}]}
    assert disk_io.rates(b"a warning\n" + json.dumps(report).encode()) == {"read_4k": [3.0]}


def test_a_peer_without_disks_has_no_figures():
    class Peer:
        @staticmethod
        def output_on_disk(*_):
            return None

    assert not disk_io.run(Peer, short=True)

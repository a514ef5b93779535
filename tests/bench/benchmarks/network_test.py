from benchmarks import network

REPORT = b'{"end": {"sum_received": {"bits_per_second": 838860800}}}\n'


def test_what_is_printed_becomes_figures():
    pings = b"100 packets transmitted\nround-trip min/avg/max = 0.101/0.250/1.2 ms\n"
    printed = network.MARK.join([REPORT, REPORT, pings])
    assert network.figures_of(printed) == {"to_node": [100], "from_node": [100], "round_trip": [250]}

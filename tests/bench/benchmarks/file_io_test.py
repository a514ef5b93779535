import json

from benchmarks import file_io


def test_rates_are_read_from_fio():
    report = {"jobs": [
        {"jobname": "randread_4k", "read": {"bw_bytes": 2 << 20}, "write": {"bw_bytes": 0}},
        {"jobname": "write_1m", "read": {"bw_bytes": 0}, "write": {"bw_bytes": 3 << 20}}]}
    assert file_io.rates(b"fio: a warning\n" + json.dumps(report).encode()) == {
        "randread_4k": [2], "write_1m": [3]}


def test_every_figure_has_its_job():
    jobs = file_io.job_file(64)
    assert [line.strip("[]") for line in jobs.splitlines()
            if line.startswith("[")] == ["global", *file_io.job_names()]
    assert "[randwrite_64k]\nstonewall\nfilename=randwrite_64k\nrw=randwrite\nbs=64k\n" in jobs

import timeline

LOG = '''\
time="1970-01-01T00:00:10.100000Z" level=info msg=stage sandbox=one stage=share ms=40.0
time="1970-01-01T00:00:10.200000Z" level=info msg=stage sandbox=other stage=share ms=1.0
time="1970-01-01T00:00:10.300000Z" level=info msg="sandbox is up" sandbox=one
time="1970-01-01T00:00:12.100000Z" level=info msg=stage sandbox=one stage="agent ready" ms=2040.0
time="1970-01-01T00:00:12.200000Z" level=info msg=stage sandbox=one stage=kernel ms=1940.0
'''


def test_stages_count_from_the_start_of_ctr():
    (stages,) = timeline.read(LOG, {"one": (10.0, 12.5)})
    assert [(stage.name, round(stage.at_ms), round(stage.took_ms)) for stage in stages] == [
        ("shim start", 60, 60), ("share", 100, 40), ("kernel", 2000, 1900),
        ("agent ready", 2100, 100),
        ("ctr end", 2500, 400)]


def test_medians_are_of_each_stage():
    one = [timeline.Stage("a", 1, 1), timeline.Stage("b", 4, 3)]
    two = [timeline.Stage("a", 3, 3), timeline.Stage("b", 5, 2)]
    three = [timeline.Stage("a", 2, 2), timeline.Stage("b", 9, 7)]
    assert timeline.medians([one, two, three]) == [timeline.Stage("a", 2, 2),
                                                   timeline.Stage("b", 5, 3)]


def test_a_log_without_stages_gives_no_timeline():
    assert timeline.read("time=x level=info msg=hello", {"one": (0, 1)}) == []

import pytest

from progress import Progress


@pytest.fixture(name="progress")
def progress_fixture(tmp_path):
    return Progress("tool", tmp_path / "log")


def test_stages_and_times_are_reported(progress, capsys):
    with progress.stage("first step") as stage:
        assert stage.run(["true"]) == 0
    progress.finish()
    out = capsys.readouterr().out
    assert "first step" in out
    assert "tool: done in" in out


def test_output_goes_to_the_log_of_the_stage(progress, tmp_path, capsys):
    with progress.stage("first step") as stage:
        stage.run(["echo", "said"])
    assert "said" in (tmp_path / "log/first-step.log").read_text()
    assert "said" not in capsys.readouterr().out


def test_echo_shows_it_too(progress, capsys):
    with progress.stage("tests") as stage:
        stage.run(["printf", "one\\ntwo"], echo=True)
    assert "  one\n  two\n" in capsys.readouterr().out


def test_a_failure_names_stage_cause_and_last_words(progress, capsys):
    with pytest.raises(SystemExit) as ended, progress.stage("build") as stage:
        stage.run(["sh", "-c", "echo the compiler says no; exit 3"])
    err = capsys.readouterr().err
    assert ended.value.code == 1
    assert "stage 'build' failed: sh ended with status 3" in err
    assert "the compiler says no" in err


def test_a_missing_program_is_named(progress, capsys):
    with pytest.raises(SystemExit), progress.stage("build") as stage:
        stage.run(["no-such-program"])
    assert "no-such-program is not installed" in capsys.readouterr().err


def test_without_check_the_status_comes_back(progress):
    with progress.stage("tests") as stage:
        assert stage.run(["false"], check=False) == 1

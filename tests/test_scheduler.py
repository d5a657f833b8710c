"""Tests of the scheduler of runs: order, dependencies, failures, finished runs, and output files."""

import sys
from pathlib import Path

import pytest

from budgetrl.cli.scheduler import ALREADY_DONE, DONE, FAILED, Job, Scheduler
from budgetrl.runs.folder import RunFolder

WORK = """
import sys
from pathlib import Path
folder, code = Path(sys.argv[1]), int(sys.argv[2])
with open("order", "a") as file:
    file.write(folder.name + "\\n")
print("ArithmeticError: out of numbers" if code else "well")
if not code:
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text("{}")
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("budgetrl.cli.scheduler.count_gpus", lambda: 0)
    (tmp_path / "work.py").write_text(WORK)


def job(name: str, code: int = 0, needs: list[Job] | None = None) -> Job:
    folder = Path(name)
    command = [sys.executable, "work.py", name, str(code)]
    return Job(name, RunFolder(folder), command, folder / "logs" / "output.log", needs or [])


def order() -> list[str]:
    return Path("order").read_text().split()


def test_a_job_waits_for_what_it_needs_while_others_go_ahead() -> None:
    base, other = job("base"), job("other")
    later = job("later", needs=[base])
    Scheduler(2, 0).run([later, base, other])
    assert [one.state for one in (base, other, later)] == [DONE] * 3
    assert order()[-1] == "later" or order().index("later") > order().index("base")
    assert Path("base/logs/output.log").read_text() == "well\n"


def test_a_failed_job_stops_only_those_that_need_it(capsys: pytest.CaptureFixture[str]) -> None:
    base, other = job("base", code=1), job("other")
    later, last = job("later", needs=[base]), job("last")
    last.needs = [later]
    Scheduler(1, 0).run([base, later, last, other])
    assert [one.state for one in (base, later, last, other)] == [FAILED, FAILED, FAILED, DONE]
    assert order() == ["base", "other"]
    assert base.why == "ArithmeticError: out of numbers"
    assert later.why == "needs base, which failed"
    assert last.why == "needs later, which failed"
    said = capsys.readouterr().out
    assert "failed: base (ArithmeticError: out of numbers), see base/logs/output.log\n" in said
    assert "failed: later (needs base, which failed)\n" in said


def test_what_is_done_already_is_called_so_and_is_enough_for_others() -> None:
    base = job("base")
    RunFolder("base").write_result({})
    done = job("done")
    done.state = ALREADY_DONE
    later = job("later", needs=[base, done])
    Scheduler(1, 0).run([base, done, later])
    assert [one.state for one in (base, done, later)] == [ALREADY_DONE, ALREADY_DONE, DONE]
    assert order() == ["base", "later"]  # a process looks whether the run is still the same one

"""How other queues are measured: each in an environment of its own."""

import io
import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import publish, stage
from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.driver import drive
from tests.benchmarks.figures import Collection
from tests.benchmarks.lineup import PEERS
from tests.benchmarks.rows import Plan
from tests.benchmarks.venvs import UnavailableError, Venv


class Echo(Contestant):
    """Gives back what it was given, and notes what it was asked."""

    name = "echo"

    def __init__(self, *given):
        super().__init__(*given)
        self.asked = []
        self.values = []

    def open(self):
        self.asked.append("open")

    def man(self):
        self.asked.append("man")

    def submit_many(self, values):
        self.values += values

    def submit_each(self, values):
        self.values += values

    def gather(self):
        values, self.values = self.values, []
        return values

    def trip(self, value):
        raise ValueError(f"no trip for {value}")


def answers(contestant, *rows):
    """Ask for rows and return what is answered."""
    plan = asdict(Plan.quick())
    asked = [json.dumps({"row": row, "plan": plan}) + "\n" for row in rows]
    told = io.StringIO()
    drive(contestant, asked, told)
    return [json.loads(line) for line in told.getvalue().splitlines()]


def test_a_driver_answers_with_figures(tmp_path):
    bulk, single = answers(Echo(tmp_path), "bulk", "single")

    assert bulk["figures"]["rate"] > 0
    assert single["figures"]["rate"] > 0


def test_a_contestant_is_opened_and_manned_once(tmp_path):
    contestant = Echo(tmp_path)

    answers(contestant, "bulk", "single", "bulk")

    assert contestant.asked == ["open", "man"]


def test_a_driver_tells_what_went_wrong_and_goes_on(tmp_path, capsys):
    trip, bulk = answers(Echo(tmp_path), "trip", "bulk")

    assert trip == {"problem": "ValueError: no trip for 0"}
    assert "figures" in bulk
    assert "no trip for 0" in capsys.readouterr().err


@pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.name)
def test_what_drives_a_peer_needs_only_the_standard_library(kind):
    told = subprocess.run(
        [
            *(sys.executable, "-S", "-c"),
            f"import tests.benchmarks.driver, {kind.__module__}",
        ],
        cwd=stage.HOUSE,
        env={"PYTHONPATH": str(stage.HOUSE)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stderr


@pytest.fixture
def runs(monkeypatch):
    """Return what would be run; nothing is."""
    found = []

    def run(self, *arguments):
        found.append(arguments[0])
        self._folder.mkdir(exist_ok=True)

    monkeypatch.setattr(Venv, "_run", run)
    return found


def make(home, *needs):
    """Make an environment and return how often it was told of."""
    told = []
    Venv("tiny", needs, home).make(lambda: told.append(1))
    return len(told)


def test_an_environment_is_made_once(tmp_path, runs):
    assert make(tmp_path, "tiny>=1") == 1
    assert make(tmp_path, "tiny>=1") == 0

    assert runs == ["venv", "pip"]


def test_an_environment_is_made_anew_when_something_else_is_needed(tmp_path, runs):
    make(tmp_path, "tiny>=1")
    left = tmp_path / "tiny" / "left"
    left.touch()

    assert make(tmp_path, "tiny>=2") == 1

    assert runs == ["venv", "pip"] * 2
    assert not left.exists()


def test_an_environment_that_was_not_finished_is_made_again(
    tmp_path, runs, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Venv, "_run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make(tmp_path, "tiny")

    assert make(tmp_path, "tiny") == 1
    assert runs == ["venv", "pip"]


def test_who_needs_nothing_has_our_python(tmp_path, runs):
    assert make(tmp_path) == 0

    assert Venv("tiny", (), tmp_path).python == sys.executable
    assert runs == []


def test_a_peer_that_cannot_be_installed_is_left_out_with_the_reason(monkeypatch):
    def make(self, tell):
        if "celery" in self.python:
            raise UnavailableError("celery could not be installed: no network")

    monkeypatch.setattr(Venv, "make", make)
    said: list[str] = []
    without: dict[str, str] = {}

    found = command._contestants("celery,rq,pool", [], said.append, without)

    names = [kind.name for kind in found]
    assert "celery" not in names
    assert {"redtask", "rq", "pool"} <= set(names)
    assert without == {"celery": "celery could not be installed: no network"}
    assert said == ["without celery: celery could not be installed: no network"]


def test_the_page_says_who_is_missing_and_why(tmp_path):
    collection = Collection(without={"rq": "failed at bulk: TimeoutError: no result"})
    collection.add("bulk", "redtask", {"rate": 10.0})
    collection.add("bulk", "pool", {"rate": 20.0})

    publish.write(collection, tmp_path, 1, 0.0)

    page = (tmp_path / "docs" / "peers.rst").read_text()
    assert "Without rq: failed at bulk: TimeoutError: no result." in page

"""A short soak; ``scripts/soak`` makes long ones."""

import json
import subprocess
import sys

import pytest

from tests.processes import HOUSE
from tests.soak import plan

pytestmark = pytest.mark.acceptance


def test_nothing_is_lost_or_doubled_while_everything_fails_at_random(tmp_path):
    words = ["--minutes", "0.15", "--seed", "20", "--rate", "250", "--json"]

    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *words],
        cwd=HOUSE,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    report = json.loads(done.stdout)
    assert report["wrong"] == [], done.stderr
    assert done.returncode == 0, done.stderr
    assert report["tasks by end"]["completed"] > 300
    assert len(report["faults by kind"]) > 5


def test_the_same_seed_draws_the_same_faults(tmp_path):
    drawn = [plan.draw(7, number, 30) for number in range(2)]

    plan.write(tmp_path / "plan", drawn)

    assert plan.draw(7, 1, 30) == drawn[1] != drawn[0]
    assert plan.read(tmp_path / "plan") == drawn
    assert {fault.kind for fault in drawn[0] + drawn[1]} > {"kill engine", "cut"}


def test_only_what_is_named_goes_wrong():
    drawn = plan.draw(7, 0, 60, ["kill redis", "tear"])

    assert {(fault.kind, fault.where) for fault in drawn} == {
        ("kill redis", "server"),
        ("tear", "clients"),
        ("tear", "a"),
        ("tear", "b"),
    }

"""The demo, on a slice of the library: it does what it says, and leaves nothing."""

import os
import signal
import subprocess
import sys

import pytest

from redtask import demo

pytestmark = pytest.mark.acceptance


def test_the_demo_survives_a_killed_engine_and_leaves_nothing(land):
    process = land.start("-m", "redtask.demo", "--limit", "120", "-n", "2")

    out, err = process.communicate(timeout=100)

    assert (process.returncode, err) == (0, ""), out
    for words in (
        "120 files",
        "half-way: killed engine process",
        "all 120 results are here",
        "the totals agree",
        "tasks/s",
        "Per task Redis answered",
    ):
        assert words in out
    assert land.is_empty()
    assert list(land.folder.iterdir()) == [land.home]
    assert list(land.home.iterdir()) == []


def test_ctrl_c_cleans_up(land):
    process = land.start("-m", "redtask.demo", "-n", "2")
    for line in process.stdout:
        if line.startswith("engines"):
            break

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (130, "")
    assert "interrupted" in out
    assert land.is_empty()
    assert list(land.folder.iterdir()) == [land.home]


def test_different_totals_are_a_failure(capsys):
    right = demo.index_file(demo.__file__)
    wrong = {**right, "lines": right["lines"] + 1}
    screen = demo._Screen()

    assert demo._compare(screen, [right], [right])
    assert not demo._compare(screen, [wrong], [right])
    assert not demo._compare(screen, [], [right])
    assert f"DIFFERENT: {demo.__file__}" in capsys.readouterr().out


def test_a_file_is_counted(tmp_path):
    source = tmp_path / "some.py"
    source.write_text(
        'import os, sys\n\nclass A:\n    "Told."\n\n'
        "    def f(self, x):  # why\n        return 1 if x and self else 2\n"
    )

    facts = demo.index_file(str(source))

    assert facts == {
        "path": str(source),
        "pid": os.getpid(),
        "lines": 7,
        "code": 5,
        "comments": 1,
        "imports": 1,
        "classes": 1,
        "functions": 1,
        "documented": 1,
        "complexity": 3,
    }


def test_nonsense_on_the_command_line_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "redtask.demo", "-n", "0"],
        capture_output=True,
        check=False,
        text=True,
    )

    assert done.returncode == 2
    assert "at least one engine" in done.stderr

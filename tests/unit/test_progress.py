"""The progress bar in a notebook, which needs no widgets."""

import sys
import time
import types

import pytest

from redtask import progress


@pytest.fixture
def cell(monkeypatch):
    """What a notebook's cell shows: one list of states for each display."""
    shown = []

    def display(picture, *, raw, display_id):
        assert (raw, display_id) == (True, True)
        states = [picture]
        shown.append(states)
        return types.SimpleNamespace(update=lambda new, raw: states.append(new))

    ipython = types.ModuleType("IPython")
    vars(ipython)["get_ipython"] = lambda: types.SimpleNamespace(kernel=object())
    there = types.ModuleType("IPython.display")
    vars(there)["display"] = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", there)
    return shown


def test_a_notebook_shows_the_bar_in_its_cell(cell, capsys):
    with progress.progress_bar("<lambda>", 12) as show:
        for done in (0, 0, 5, 5, 12):
            show(done)

    (states,) = cell
    assert [one["text/plain"] for one in states] == [
        "<lambda>: 0/12, 0:00",
        "<lambda>: 5/12, 0:00",
        "<lambda>: 12/12, 0:00",
    ]
    assert states[-1]["text/html"] == (
        '<progress value="12" max="12"></progress> &lt;lambda&gt;: 12/12, 0:00'
    )
    assert capsys.readouterr().err == ""


def test_the_time_goes_on_while_nothing_arrives(cell, monkeypatch):
    times = iter([10.0, 10.5, 11.0, 11.5, 135.0])
    monkeypatch.setattr(time, "monotonic", times.__next__)

    with progress.progress_bar("f", None) as show:
        for _ in range(4):
            show(3)
    monkeypatch.undo()

    (states,) = cell
    assert [one["text/plain"] for one in states] == [
        *("f: 0, 0:00", "f: 3, 0:00", "f: 3, 0:01", "f: 3, 2:05"),
    ]
    assert states[-1]["text/html"].startswith("<progress></progress> f: 3")


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace()])
def test_a_terminal_has_no_cells(cell, monkeypatch, capsys, shell):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)

    with progress.progress_bar("f", 1) as show:
        show(1)

    assert cell == []

"""Cells of a notebook: their lines in tracebacks from engines, and of errors here."""

import linecache
import sys
import types

import pytest

from redtask import cells
from redtask.error import CompositeError, ConnectionLost, RemoteError, TaskAborted

CELL = "/tmp/ipykernel_7/123.py"  # noqa: S108 - never opened
SOURCE = "def inverse(x):\n    y = x - 3\n    return 1 / y\n"
OVER_THERE = f"""Traceback (most recent call last):
  File "{CELL}", line 3, in inverse
  File "/lib/other.py", line 9, in f
  File "/lib/other.py", line 3, in g
    it has its line
ZeroDivisionError: division by zero
"""


@pytest.fixture
def notebook(monkeypatch):
    """A notebook that has run one cell, as far as anybody can tell."""
    lines = SOURCE.splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, CELL, (len(SOURCE), None, lines, CELL))
    compiler = types.SimpleNamespace(
        format_code_name=lambda name: ("Cell", "In[4]") if name == CELL else None
    )
    ipython = types.ModuleType("IPython")
    vars(ipython)["get_ipython"] = lambda: types.SimpleNamespace(compile=compiler)
    monkeypatch.setitem(sys.modules, "IPython", ipython)


def test_what_a_notebook_defined_is_quoted(notebook):
    found = cells.quoted(OVER_THERE).splitlines()

    assert found[1:3] == ["  Cell In[4], line 3, in inverse", "    return 1 / y"]
    assert "\n".join([found[0], *found[3:]]) + "\n" == OVER_THERE.replace(
        f'  File "{CELL}", line 3, in inverse\n', ""
    )


def test_a_prompt_without_ipython_is_quoted_by_its_file(notebook, monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython")

    found = cells.quoted(OVER_THERE).splitlines()

    assert found[1:3] == [f'  File "{CELL}", line 3, in inverse', "    return 1 / y"]


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace(compile=None)])
def test_an_ipython_without_cells_names_none(notebook, monkeypatch, shell):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)

    assert "  Cell" not in cells.quoted(OVER_THERE)


def test_files_are_not_quoted_they_may_differ_over_there(monkeypatch):
    assert linecache.getline(__file__, 3)
    text = f'  File "{__file__}", line 3, in f\nValueError: 1\n'

    assert cells.quoted(text) == text
    assert cells.quoted(f'  File "{CELL}", line 3, in f\n') == (
        f'  File "{CELL}", line 3, in f\n'
    )


def test_lines_that_a_cell_does_not_have_are_left_out(notebook):
    text = f'  File "{CELL}", line 4, in f\n'

    assert cells.quoted(text) == "  Cell In[4], line 4, in f\n"


def raised_in_a_cell(problem):
    """Raise it as if by redtask, called by a function of a cell; return it."""
    ours = {"__name__": "redtask.result"}
    exec("def get(problem):\n    raise problem", ours)  # noqa: S102
    cell = {"__name__": "__main__", "get": ours["get"], "problem": problem}
    source = "\ndef helper():\n    get(problem)\nhelper()\n"
    exec(compile(source, CELL, "exec"), cell)  # noqa: S102


@pytest.mark.parametrize(
    "problem",
    [
        RemoteError("E", "v", "Traceback\nE: v\n", {"engine_id": 3}),
        CompositeError("several", [RemoteError("E", "v")]),
        TaskAborted("c-0 was aborted"),
        ConnectionLost("Redis cannot be reached"),
    ],
)
def test_ipython_shows_which_line_of_which_cell_asked(notebook, problem):
    with pytest.raises(type(problem)) as caught:
        raised_in_a_cell(problem)

    shown = caught.value._render_traceback_()

    begun = len(f"{type(problem).__name__}: {problem}".splitlines())
    assert shown[begun : begun + 3] == [
        "  Cell In[4], line 4",
        "  Cell In[4], line 3, in helper",
        "    return 1 / y",
    ]
    assert not [line for line in shown if "redtask" in line]


def test_code_that_was_sent_is_quoted_and_the_latest_of_it_kept():
    names = [cells.typed(f"x = {number}\nx / 0") for number in range(120)]

    assert names[-1] == cells.typed("x = 119\nx / 0")
    told = cells.quoted(
        f'  File "{names[-1]}", line 2, in <module>\nZeroDivisionError\n'
    )
    assert "    x / 0\n" in told
    assert sum(name in linecache.cache for name in names) == 100

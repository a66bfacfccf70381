"""``%px`` and its kin, in an IPython with a cluster of its own."""

import os
import signal

import pytest

from tests.notebooks import Notebook
from tests.processes import until

pytestmark = pytest.mark.acceptance

CLUSTER = """
import redtask
rc = redtask.Cluster(n=2, private=True).start_and_connect()
"""
TWICE = "Out[0]: {0}\nOut[1]: {0}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("REDTASK_")]:
            patch.delenv(name)
        patch.setenv("REDTASK_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def kernel(folder):
    """An IPython with a cluster of two engines."""
    with Notebook(folder) as notebook:
        notebook.show(CLUSTER)
        yield notebook


@pytest.fixture
def notebook(kernel):
    """The same, as if nobody had used it."""
    kernel.show("rc = rc.cluster.connect_client(); rc.activate();")
    kernel.show("rc.clear(block=True)")
    return kernel


def test_the_first_client_brings_the_magics_for_all_engines(folder):
    with Notebook(folder) as notebook:
        before = notebook.run("%px 1")
        notebook.show("%load_ext redtask")
        alone = notebook.run("%px 1")
        notebook.show(CLUSTER)

        assert "%px` not found" in before.err
        assert alone.err == "UsageError: there is no client: rc = redtask.Client()\n"
        assert notebook.show("%px 6 * 7") == TWICE.format(42)
        notebook.show("other = rc.cluster.start_engines(1)")
        assert notebook.show("%px 1").count("Out[") == 3
        notebook.show("rc.close()")
        assert "there is no client" in notebook.run("%px 1").err


def test_a_cell_shows_what_engines_print_and_its_last_value(notebook):
    shown = notebook.show("%%px\nx = 5\nprint('é', x)\n'é'; [x,\n x]  # two\n")

    assert shown == "[stdout:0] é 5\n[stdout:1] é 5\n" + TWICE.format("[5, 5]")
    assert notebook.show("%px y = x") == ""
    assert notebook.show("%%px\nx;\n") == ""
    assert notebook.show("%%px\nNone") == ""
    assert notebook.show("%px") == ""
    assert notebook.show("%px {x}") == TWICE.format("{5}")
    assert notebook.show("%%px\n  if x:\n    y = 3\n  y") == TWICE.format(3)


def test_values_are_shown_that_no_engine_could_send(notebook):
    shown = notebook.show("%%px\nimport threading\nthreading.Lock()")

    assert shown.count("Out[0]: <unlocked _thread.lock object") == 1
    assert notebook.show(
        "%%px -t 0\nclass A:\n    __repr__ = lambda _: 'a\\nb'\nA()"
    ) == ("Out[0]:\na\nb\n")


@pytest.mark.parametrize(
    ("targets", "shown"),
    [
        ("all", "Out[0]: 1\nOut[1]: 1\n"),
        ("1", "Out[1]: 1\n"),
        ("-1", "Out[1]: 1\n"),
        ("1,0", "Out[1]: 1\nOut[0]: 1\n"),
        ("[1]", "Out[1]: 1\n"),
        (":1", "Out[0]: 1\n"),
        ("::2", "Out[0]: 1\n"),
    ],
)
def test_a_cell_says_which_engines_run_it(notebook, targets, shown):
    assert notebook.show(f"%%px --targets={targets}\n1") == shown


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%px -t nobody\n1", "these are no engines: 'nobody'"),
        ("%%px -t a:b\n1", "these are no engines: 'a:b'"),
        ("%%px --nonsense\n1", "unrecognized arguments: --nonsense"),
        ("%%px\n1\n%matplotlib inline", "engines run Python, without %matplotlib"),
        ("%px !ls", "engines run Python, without !ls"),
    ],
)
def test_what_makes_no_sense_is_refused(notebook, cell, words):
    assert notebook.run(cell).err == f"UsageError: {words}\n"


def test_an_error_on_engines_quotes_the_cell(notebook):
    ran = notebook.run("%%px\nprint('before')\nx = 0\n1 / x")

    assert ran.error == "CompositeError"
    assert ran.out.startswith("[stdout:0] before\n[stdout:1] before\n")
    assert "line 3, in <module>\n    1 / x\nZeroDivisionError" in ran.out
    assert "run_cell_magic" in ran.out
    assert "interactiveshell.py" not in ran.out


def test_where_one_fails_the_others_show_their_values(notebook):
    notebook.show("rc[:].scatter('x', [0, 2], flatten=True, block=True)")

    ran = notebook.run("%px 1 / x")

    assert ran.out.startswith("Out[1]: 0.5\n")
    assert ran.error == "CompositeError"
    assert notebook.run("%%px\nx = = 3").error == "SyntaxError"


LONG = """%%px {options}
import os, redtask, sys, time
open({begun!r} + str(os.getpid()), "x").close()
print("begun")
while not os.path.exists({gate!r}):
    time.sleep(0.01)
redtask.current_task().progress(1)
sys.stderr.write("odd\\n")
print("ended", end="")
7
"""


class Long:
    """A cell that runs until a gate is opened."""

    def __init__(self, folder):
        self.folder = folder
        self.gate = folder / "gate"

    def cell(self, options=""):
        """Return its text."""
        begun, gate = str(self.folder / "begun-"), str(self.gate)
        return LONG.format(options=options, begun=begun, gate=gate)

    def wait(self, count=2):
        """Wait until so many engines have begun it."""
        until(lambda: len([*self.folder.glob("begun-*")]) == count, "its begin")


@pytest.fixture
def long(tmp_path):
    return Long(tmp_path)


def test_a_long_cell_shows_lines_as_they_come(notebook, long):
    notebook.begin(long.cell("--stream"))
    long.wait()
    long.gate.touch()

    lines = notebook.end().out.splitlines()

    said = ("stdout", "begun"), ("stdout", "ended"), ("stderr", "odd")
    assert sorted(lines[:-2]) == sorted(
        f"[{stream}:{engine}] {word}" for engine in (0, 1) for stream, word in said
    )
    assert lines[-2:] == ["Out[0]: 7", "Out[1]: 7"]


def test_one_engine_is_not_named_in_each_line(notebook, long):
    notebook.begin(long.cell("--stream -t 0"))
    long.wait(1)
    long.gate.touch()

    *said, value = notebook.end().out.splitlines()

    assert (sorted(said), value) == (["begun", "ended", "odd"], "Out[0]: 7")


def test_output_may_be_shown_in_the_end_and_grouped(notebook, long):
    long.gate.touch()

    shown = notebook.show(long.cell("--no-stream -e"))

    lines = [f"[stdout:{at}] begun\nended\n[stderr:{at}] odd\n" for at in (0, 1)]
    assert shown == "".join(lines) + TWICE.format(7)


def test_an_interrupt_is_meant_for_the_engines(notebook, long):
    notebook.begin(long.cell("-o ar"))
    long.wait()

    notebook.process.send_signal(signal.SIGINT)

    assert notebook.end().error == "KeyboardInterrupt"
    assert notebook.run("ar.get()").out.count("was aborted") == 2
    assert notebook.show("%px 1") == TWICE.format(1)


def test_a_cell_need_not_wait(notebook, long):
    begun = notebook.show(long.cell("--noblock -o ar"))
    long.gate.touch()

    assert "AsyncResult(execute)" in begun
    assert "ended\n" in notebook.show("%pxresult")
    assert notebook.show("%pxresult -r").endswith(TWICE.format(7))
    assert notebook.show("print(ar.get())") == "['7', '7']\n"
    notebook.show("%pxresult -o other")
    assert notebook.show("print(other is ar)") == "True\n"


def test_what_is_configured_goes_for_the_next_cells(notebook):
    assert notebook.run("%pxresult").err == (
        "UsageError: there is no result: no %px was used\n"
    )

    notebook.show("%pxconfig --noblock --targets 1 --verbose --stream")

    assert notebook.show("%px 1").startswith("Async parallel execution on engine(s): 1")
    notebook.show("%pxconfig --block --no-stream")
    assert notebook.show("%px 1") == "Parallel execution on engine(s): 1\nOut[1]: 1\n"
    assert notebook.show("%%px -t all --no-verbose\n1") == TWICE.format(1)


def test_a_cell_may_run_here_too(notebook):
    assert notebook.show("%%px --local\nhere = 6\nprint(here)") == (
        "6\n[stdout:0] 6\n[stdout:1] 6\n"
    )
    assert notebook.show("print(here)") == "6\n"
    assert "AsyncResult" in notebook.show("%%px --local -a\nhere = 7")
    assert notebook.show("print(here)") == "7\n"


def test_all_cells_may_run_on_engines(notebook):
    notebook.show("there = 0")

    assert notebook.show("%autopx") == "%autopx enabled\n"
    assert notebook.show("there = 3\nthere") == TWICE.format(3)
    assert notebook.show("%%px -t 0\nthere") == "Out[0]: 3\n"
    assert notebook.show("") == ""
    assert notebook.show("%autopx") == "%autopx disabled\n"
    assert notebook.show("print(there)") == "0\n"


def test_views_have_magics_with_a_suffix(notebook):
    notebook.show("rc[1].activate('_one')")
    notebook.show("two = rc.activate([1, 0], '_two'); two.block")

    notebook.show("%pxconfig_one --block")
    assert notebook.show("%px_one 1") == "Out[1]: 1\n"
    assert notebook.show("%px_two 1") == "Out[1]: 1\nOut[0]: 1\n"
    assert notebook.show("%px 1") == TWICE.format(1)
    notebook.show("%autopx_one")
    assert notebook.show("2") == "Out[1]: 2\n"
    notebook.show("%autopx_one")


def test_an_activated_cluster_stays_the_one_that_is_meant(notebook):
    notebook.show("more = redtask.Cluster(n=1, private=True)")

    notebook.show("theirs = more.start_and_connect()")
    assert notebook.show("%px 1") == TWICE.format(1)
    notebook.show("more.stop_cluster(); theirs = more.start_and_connect(activate=True)")
    notebook.show("%load_ext redtask")
    assert notebook.show("%px 1") == "Out[0]: 1\n"
    notebook.show("more.stop_cluster()")

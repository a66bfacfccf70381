"""What README and docs show is run as it stands there."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import redtask

pytestmark = pytest.mark.acceptance

WORDS = (
    "a-bad-night",
    "command-line",
    "costs",
    "doctor",
    "index",
    "peers",
    "reliability",
    "running",
    "schemes",
    "status",
)
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
#: Running it is about commands, and schemes about Lua.
PAGES = sorted({*DOCS.glob("*.rst")} - {DOCS / f"{name}.rst" for name in WORDS})
SCHEMES = sorted((ROOT / "docs" / "examples").glob("*.lua"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Run a cluster of two engines in a user's folder of its own."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("REDTASK_")]:
            patch.delenv(name)
        patch.setenv("REDTASK_HOME", str(folder))
        with redtask.Cluster(n=2):
            yield folder


def blocks(path, language="python"):
    """Return the blocks of a document that are in this language."""
    found = re.findall(
        rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)",
        path.read_text(),
        re.MULTILINE,
    )
    return [textwrap.dedent(block) for block in found]


def run(program, folder):
    """Run a program as a user would, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tour_of_the_readme_runs_as_it_stands(home, tmp_path):
    tour = blocks(ROOT / "README.rst")
    program = tmp_path / "tour.py"
    program.write_text("\n".join(tour))

    run(program, tmp_path)

    assert len(tour) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_pages_run_as_they_stand(home, tmp_path, page):
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks(page)))

    run(program, tmp_path)

    assert blocks(page)


def test_the_scheme_that_is_shown_is_the_example():
    (shown,) = blocks(DOCS / "schemes.rst", "lua")

    assert shown.strip() == (DOCS / "examples" / "warm.lua").read_text().strip()


@pytest.mark.parametrize(
    "document", [*DOCS.glob("*.rst"), *ROOT.glob("*.rst")], ids=lambda path: path.stem
)
def test_links_lead_somewhere(document):
    links = re.findall(r"<([^<>\s]+)>`_", document.read_text())
    files = [link for link in links if ":" not in link]

    missing = [link for link in files if not (document.parent / link).exists()]

    assert missing == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_and_say_something(home, tmp_path, example):
    assert run(example, tmp_path).strip()


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda path: path.stem)
def test_schemes_can_be_set_as_they_stand(home, scheme):
    told = subprocess.run(
        [sys.executable, "-m", "redtask", "configure", "--scheme", str(scheme)],
        cwd=scheme.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    with redtask.Client() as rc:
        values = rc.load_balanced_view().map_sync(abs, range(-9, 0))

    assert f"setting\tscheme\t{scheme.stem}@" in told.stdout, told
    assert values == list(range(9, 0, -1))

"""What docs/reliability.rst promises is proved by the tests that it names."""

import builtins
import re

import pytest

import redtask
from redtask import error
from tests.processes import HOUSE

PAGE = (HOUSE / "docs" / "reliability.rst").read_text(encoding="utf-8")
NAMED = re.findall(r"^     - ``(test_\w+)``$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def known():
    return {
        name
        for path in (HOUSE / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("name", NAMED)
def test_each_line_names_a_test_that_there_is(name, known):
    assert name in known


def test_each_fault_has_a_line_of_its_own():
    rows = PAGE.count("   * - ") - PAGE.count("   * - fault")

    assert len(set(NAMED)) == len(NAMED) == rows > 30


def test_errors_that_callers_see_stand_at_the_top_of_the_package():
    named = set(re.findall(r"``(\w+)``", PAGE)) & set(vars(error)) - set(dir(builtins))

    assert "HubFull" in named
    assert named <= set(redtask.__all__)

"""The mutants are of the scripts as they are, and name tests that there are."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.mutants import HOUSE, MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_each_changes_one_place_and_names_tests(mutant, tmp_path):
    shutil.copytree(HOUSE / "lua" / "lib", tmp_path / "lib")
    for path in (HOUSE / "lua").glob("*.lua"):
        shutil.copy(path, tmp_path)

    mutant.apply(tmp_path)

    for node in mutant.nodes:
        file, _, name = node.partition("::")
        text = (HOUSE / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name or 'test_'}", text, re.MULTILINE), node


def test_no_two_have_one_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) > 20

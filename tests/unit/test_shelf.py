"""What was linked is kept for the next process, and used only if it is the same."""

import json
import sys

import pytest

from redtask.hub.linker import Place
from redtask.hub.shelf import Shelf, fingerprint, folder_beside

TEXT = "return 1\n"
PLACES = (Place(1, "lua/submit.lua", 7), Place(3, "lua/lib/keys.lua", 1))


@pytest.fixture(autouse=True)
def _written(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def test_what_is_put_is_got_by_the_next(tmp_path):
    Shelf(tmp_path / "new", "same").put("submit-lru", TEXT, PLACES)

    found = Shelf(tmp_path / "new", "same").get("submit-lru")

    assert found == (TEXT, PLACES)
    assert Shelf(tmp_path / "new", "same").get("turn-lru") is None


def test_what_was_made_of_other_files_is_not_used(tmp_path):
    Shelf(tmp_path, "old").put("submit-lru", TEXT, PLACES)

    assert Shelf(tmp_path, "new").get("submit-lru") is None


HALF = b'{"made_of": "same"}'
ODD = b'{"made_of": "same", "text": "x", "places": [[1]]}'


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", HALF, ODD])
def test_a_damaged_file_is_none(tmp_path, content):
    (tmp_path / "submit-lru.lua.json").write_bytes(content)

    assert Shelf(tmp_path, "same").get("submit-lru") is None


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path):
    (tmp_path / "file").touch()
    shelf = Shelf(tmp_path / "file", "same")

    shelf.put("submit-lru", TEXT, PLACES)

    assert shelf.get("submit-lru") is None
    assert Shelf(None, "same").get("submit-lru") is None


def test_who_keeps_no_bytecode_keeps_no_scripts(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    Shelf(tmp_path, "same").put("submit-lru", TEXT, PLACES)

    assert not list(tmp_path.iterdir())


def test_nothing_but_the_file_is_left(tmp_path):
    Shelf(tmp_path, "same").put("submit-lru", TEXT, PLACES)

    (file,) = tmp_path.iterdir()
    assert file.name == "submit-lru.lua.json"
    assert json.loads(file.read_text())["made_of"] == "same"


def test_a_fingerprint_changes_with_any_file(tmp_path):
    first, second = tmp_path / "a.lua", tmp_path / "b.lua"
    first.write_text("one")
    second.write_text("two")
    before = fingerprint([first, second])

    second.write_text("three")

    assert fingerprint([first, second]) != before
    assert fingerprint([first]) != before


def test_python_says_where_it_keeps_what_it_compiles():
    folder = folder_beside("/somewhere/redtask/hub/scripts.py")

    assert folder is not None
    assert "scripts" not in folder.name

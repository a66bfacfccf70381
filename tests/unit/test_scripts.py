"""The loader of the Lua scripts."""

import hashlib
import re
import sys

import fakeredis
import pytest
import redis
from lupa import lua51

from redtask.hub import linker, scripts, states

LIBRARY = """\
-- a library
local library = {}

function library.fall()
  return nil .. "x"
end

return library
"""


REMEMBERED = (scripts._read, scripts.bundle, scripts.commands, scripts._shelf)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of Lua files of our own, with nothing remembered from before."""
    for cached in REMEMBERED:
        cached.cache_clear()
    monkeypatch.setattr(scripts, "folder", lambda: tmp_path)
    monkeypatch.setattr(scripts, "folder_beside", lambda _: tmp_path / "kept")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "lib").mkdir()
    (tmp_path / "schemes").mkdir()
    yield tmp_path
    for cached in REMEMBERED:
        cached.cache_clear()


def run(text):
    return lua51.LuaRuntime().execute(text)


def test_a_command_gets_what_it_requires(folder):
    (folder / "lib/one.lua").write_text('return { word = "one" }')
    (folder / "go.lua").write_text('local one = require("lib.one")\nreturn one.word')

    assert run(scripts.bundle("go").text) == "one"


def test_a_library_is_carried_once_and_loaded_once(folder):
    (folder / "lib/count.lua").write_text("return { n = 0 }\n")
    for name in ("a", "b"):
        (folder / f"lib/{name}.lua").write_text(
            'local count = require("lib.count")\ncount.n = count.n + 1\nreturn count\n'
        )
    (folder / "go.lua").write_text(
        'local a = require("lib.a")\nlocal b = require("lib.b")\nreturn a.n + b.n\n'
    )

    text = scripts.bundle("go").text

    assert run(text) == 1 + 2
    assert text.count("{ n = 0 }") == 1


def test_a_library_that_is_not_needed_is_not_loaded(folder):
    (folder / "lib/rare.lua").write_text('error("loaded")\n')
    (folder / "go.lua").write_text(
        'local function fall() return require("lib.rare") end\nreturn fall and 7\n'
    )

    assert run(scripts.bundle("go").text) == 7


def test_the_scheme_is_chosen_by_name(folder):
    for name in ("first", "second"):
        (folder / f"schemes/{name}.lua").write_text(f'return {{ is = "{name}" }}')
    (folder / "go.lua").write_text(
        'local scheme = require("scheme")\n'
        'local name = require("scheme_name")\n'
        'return scheme.is .. " " .. name\n'
    )

    assert run(scripts.bundle("go", "second").text) == "second second"
    assert scripts.bundle("go", "first").sha != scripts.bundle("go", "second").sha


def test_a_circle_is_named(folder):
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        (folder / f"lib/{name}.lua").write_text(
            f'local {other} = require("lib.{other}")\nreturn {{}}\n'
        )
    (folder / "go.lua").write_text('local b = require("lib.b")\nreturn 1\n')

    with pytest.raises(
        linker.ScriptError, match=r"lib\.b -> lib\.c -> lib\.a -> lib\.b$"
    ):
        scripts.bundle("go")


def test_a_file_that_is_missing_is_named(folder):
    (folder / "go.lua").write_text('local x = require("lib.nowhere")\nreturn 1\n')

    with pytest.raises(linker.ScriptError, match=r"no Lua file lib/nowhere\.lua"):
        scripts.bundle("go")
    with pytest.raises(linker.ScriptError, match=r"no Lua file stop\.lua"):
        scripts.bundle("stop")
    with pytest.raises(ImportError):
        scripts.bundle("stop")


def test_a_scheme_that_is_missing_is_named(folder):
    (folder / "go.lua").write_text('local scheme = require("scheme")\nreturn 1\n')

    with pytest.raises(linker.ScriptError, match=r"no Lua file schemes/odd\.lua"):
        scripts.bundle("go", "odd")


@pytest.fixture
def falling(folder):
    """A script with one error in a library and one in itself."""
    (folder / "lib/pad.lua").write_text("-- pad\n" * 7 + "return {}\n")
    (folder / "lib/library.lua").write_text(LIBRARY)
    (folder / "go.lua").write_text(
        'local pad = require("lib.pad")\n'
        'local library = require("lib.library")\n'
        "\n"
        'if ARGV[1] == "library" then\n'
        "  library.fall(pad)\n"
        "end\n"
        'return nil .. "y"\n'
    )
    return scripts.bundle("go")


@pytest.mark.parametrize(
    ("where", "place"),
    [("library", "lua/lib/library.lua:5: "), ("here", "lua/go.lua:7: ")],
)
def test_an_error_is_told_in_file_and_line(server, falling, where, place):
    with server.redis() as client:
        sha = client.script_load(falling.text)
        with pytest.raises(redis.ResponseError) as failure:
            client.evalsha(sha, 1, "root", where)

    told = falling.explain(str(failure.value))

    assert place in told
    assert "user_script:" not in told.replace("user_script:?", "")


def test_what_names_no_line_stays_as_it_is(falling):
    assert falling.explain("OOM command not allowed") == "OOM command not allowed"


def test_a_line_of_the_text_that_no_file_has_is_told_by_its_neighbour(falling):
    assert falling.explain("user_script:1: oh") == "lua/lib/pad.lua:1: oh"


@pytest.mark.parametrize("command", scripts.commands())
def test_the_name_of_a_script_is_its_digest(command):
    script = scripts.bundle(command)

    assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()  # noqa: S324
    with fakeredis.FakeRedis() as client:
        assert client.script_load(script.text) == script.sha


def test_a_bundle_is_the_same_whenever_it_is_made():
    first = scripts.bundle("turn")
    scripts.bundle.cache_clear()

    assert scripts.bundle("turn") == first


def test_every_part_of_a_bundle_has_its_place():
    script = scripts.bundle("turn")
    lines = script.text.splitlines()

    for place in script.places:
        file = scripts.folder() / place.file.removeprefix("lua/")
        source = file.read_text().splitlines()[place.of - 1]
        is_function = "function(" in lines[place.line - 1]
        assert is_function == source.startswith("local function")
        told = script.explain(f"user_script:{place.line}: oh")
        assert told == f"{place.file}:{place.of}: oh"


def test_the_commands_are_the_files_at_the_top():
    assert "turn" in scripts.commands()
    assert all(re.fullmatch("[a-z]+", name) for name in scripts.commands())


def test_the_table_of_moves_is_read():
    first = states.moves()[0]

    assert (str(first), first.by) == ("new>ready", "line.enter")
    assert len({str(move) for move in states.moves()}) == len(states.moves())


def test_what_was_linked_once_is_not_linked_again(folder, monkeypatch):
    (folder / "main.lua").write_text("return 1\n")
    first = scripts.bundle("main")
    for cached in REMEMBERED:
        cached.cache_clear()
    monkeypatch.setattr(scripts, "Linker", None)

    assert scripts.bundle("main") == first


def test_a_file_that_has_changed_is_linked_anew(folder):
    (folder / "main.lua").write_text("return 1\n")
    first = scripts.bundle("main")
    for cached in REMEMBERED:
        cached.cache_clear()
    (folder / "main.lua").write_text("return 12\n")

    assert scripts.bundle("main").sha != first.sha

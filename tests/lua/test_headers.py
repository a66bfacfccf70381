"""The contracts at the top of the Lua files hold."""

import re
from typing import Any

import pytest
from lupa import lua51

from redtask import error
from redtask.hub import calls, scripts, states
from tests import headers

FILES = headers.files()
COMMANDS = [file for file in FILES if "/" not in file]
LIBRARIES = [file for file in FILES if "/" in file]
READS = {
    "status.lua",
    "why.lua",
    "overview.lua",
    "engines.lua",
    "tasks.lua",
    "events.lua",
}
# Refused by Redis itself, in words of its own.
NOT_OURS = {"OOM"}


@pytest.mark.parametrize("file", FILES)
def test_a_lua_file_compiles_by_itself(file):
    text = (scripts.folder() / file).read_text()
    load = lua51.LuaRuntime().eval(
        "function(text) return select(2, loadstring(text, 'file')) end"
    )

    assert load(text) is None


@pytest.mark.parametrize("scheme", scripts.schemes())
@pytest.mark.parametrize("command", scripts.commands())
def test_a_bundle_compiles(command, scheme):
    load = lua51.LuaRuntime().eval(
        "function(text) return select(2, loadstring(text, 'bundle')) end"
    )

    assert load(scripts.bundle(command, scheme).text) is None


@pytest.mark.parametrize("file", FILES)
def test_a_lua_file_says_what_it_is_for(file):
    purpose = headers.read(file).purpose

    assert re.match(r"[a-z]", purpose), "its header begins: -- name: what it does"


@pytest.mark.parametrize("file", COMMANDS)
def test_a_command_says_what_it_takes_and_gives(file):
    fields = headers.read(file).fields

    assert tuple(fields) == headers.FIELDS
    assert fields["KEYS"] == "root"
    assert fields["ARGV"].split()[0] == "now"
    assert re.match(r"\{.*\}$", fields["RETURNS"])
    assert re.match(r"O\(", fields["COST"])


@pytest.mark.parametrize("file", COMMANDS)
def test_the_words_of_a_reply_stand_in_the_command(file):
    text = (scripts.folder() / file).read_text()
    body = text[text.index("\nlocal ") :]

    for word in headers.read(file).words:
        assert f'"{word}"' in body


def test_every_move_is_made_in_one_file_which_says_so():
    claimed = [move for file in FILES for move in headers.read(file).moves]

    assert sorted(claimed) == sorted(str(move) for move in states.moves())


@pytest.mark.parametrize("move", states.moves(), ids=str)
def test_a_move_is_made_by_the_function_that_the_table_names(move):
    module, name = move.by.split(".")
    text = (scripts.folder() / "lib" / f"{module}.lua").read_text()

    assert str(move) in headers.read(f"lib/{module}.lua").moves
    assert re.search(rf"^local function {name}\(", text, re.MULTILINE)
    assert re.search(rf"^  {name} = {name},$", text, re.MULTILINE)
    assert "states.check(" in text


def test_the_states_of_python_are_those_of_lua():
    known = {state for move in states.moves() for state in (move.source, move.target)}
    left = {move.source for move in states.moves() if move.target == "gone"}

    assert left == states.ENDED
    between = {"waiting", "ready", "assigned", "running"}
    assert known == {"new", "gone"} | between | states.ENDED


def reachable(command):
    """Every Lua file that a command is made of."""
    return {
        place.file.removeprefix("lua/")
        for scheme in scripts.schemes()
        for place in scripts.bundle(command, scheme).places
    }


@pytest.mark.parametrize("command", scripts.commands())
def test_a_command_names_every_code_that_it_can_refuse_with(command):
    folder = scripts.folder()
    used = {
        code
        for file in reachable(command)
        for code in re.findall(r'\bfail\(\s*"([A-Z]+)"', (folder / file).read_text())
    }

    assert headers.read(f"{command}.lua").codes == used


def test_every_code_has_its_exception_and_every_exception_its_code():
    codes = {code for file in FILES for code in headers.read(file).codes}
    classes = {kind.code for kind in error.HubError.__subclasses__()}

    assert classes == codes | NOT_OURS


def test_the_number_of_arguments_is_the_one_of_the_call():
    empty: dict[str, calls.Call[Any]] = {
        "submit": calls.submit([]),
        "turn": calls.turn("e", 1, "n", 1),
        "register": calls.register("e", "w"),
        "beat": calls.beat("w", []),
        "sweep": calls.sweep(),
        "watch": calls.watch("c", []),
        "abort": calls.abort([]),
        "link": calls.link("t", "after", ()),
        "open": calls.open_gate("t"),
        "tell": calls.tell("w", b"m"),
        "answer": calls.answer("n", b"m"),
        "drain": calls.drain([]),
        "pause": calls.pause([]),
        "attend": calls.attend([]),
        "say": calls.say([]),
        "resubmit": calls.resubmit([]),
        "purge": calls.purge([]),
        "why": calls.why("c-1"),
        "configure": calls.configure(),
        "status": calls.status(),
        "overview": calls.overview(),
        "engines": calls.engines(),
        "tasks": calls.tasks("ready"),
        "events": calls.events(),
        "examine": calls.examine(()),
    }

    for command, call in empty.items():
        fixed = re.sub(r"\(.*\)\*", "", headers.read(f"{command}.lua").fields["ARGV"])
        assert len(call.args) == len(fixed.split()), command
    assert empty.keys() == set(scripts.commands())


@pytest.mark.parametrize("file", COMMANDS)
def test_what_writes_says_where_it_begins_to(file):
    text = (scripts.folder() / file).read_text()
    if file in {"watch.lua", "configure.lua", *READS}:
        return

    assert len(re.findall(r"-- Writes below", text)) == 1
    assert not re.search(r"\bfail\(", text[text.index("-- Writes below") :])


@pytest.mark.parametrize("file", FILES)
def test_only_what_all_servers_have_is_used(file):
    text = (scripts.folder() / file).read_text()
    code = re.sub(r"--.*", "", text)

    for word in ("cmsgpack", "bit.", "struct.", "math.random", "sha1hex", "loadstring"):
        assert word not in code
    for command in ("KEYS", "SCAN", "DEL", "LREM_ALL", "BLPOP"):
        assert f'"{command}"' not in code


@pytest.mark.parametrize("file", FILES)
def test_no_key_name_is_put_together_but_in_keys(file):
    code = re.sub(r"--.*", "", (scripts.folder() / file).read_text())

    if file != "lib/keys.lua":
        assert not re.search(r'KEYS\[1\] \.\. ":', code)
        assert "KEYS[2]" not in code


def test_every_file_is_part_of_a_command_or_tries_schemes_out():
    bundles = (*scripts.commands(), "tools/tryout")
    used = {file for command in bundles for file in reachable(command)}

    assert used == set(FILES)

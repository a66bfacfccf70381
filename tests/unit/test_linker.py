"""A bundle has what its command can reach, and builds what a call needs."""

import pytest
from lupa import lua51

from redtask.hub import scripts
from redtask.hub.linker import Linker, Module, ScriptError

LIBRARY = """\
-- a library
local other = require("lib.other")

local LIMIT = 3
local doubled = other.fetch(LIMIT) * 2

-- Never called.
local function unused()
  return other.unused()
end

local function helper(x)
  return x + LIMIT + doubled
end

-- It calls others, and itself.
local function used(x)
  if x < 0 then
    return used(-x)
  end
  return helper(other.fetch(x))
end

-- Seldom: most calls never come here.
local function rare(x)
  return helper(x) + require("lib.other").odd
end

return {
  LIMIT = LIMIT,
  used = used,
  unused = unused,
  rare = rare,
}
"""
OTHER = """\
local function fetch(x)
  return x
end

local function unused()
  return 0
end

return {
  -- A value.
  odd = 10 + 1,
  fetch = fetch,
  unused = unused,
}
"""
USE = 'local library = require("lib.library")\n'


def link(main, **libraries):
    modules = {f"lib.{name}": Module(text) for name, text in libraries.items()}
    modules[""] = Module(main, command=True)
    files = {name: f"{name or 'main'}.lua" for name in modules}
    return Linker(modules, files, {"name": "word"}).link()


def run(text):
    return lua51.LuaRuntime().execute(text)


def made(text):
    """How many functions a text makes when it is run."""
    count = lua51.LuaRuntime().eval(
        """function(text)
             local made, seen = 0, {}
             local set = setmetatable
             setmetatable = function(table, meta)
               for _, value in ipairs(table) do
                 made = made + 1
               end
               return set(table, meta)
             end
             loadstring(text)()
             return made
           end"""
    )
    return count(text)


def test_what_the_command_cannot_reach_is_left_out():
    text, _ = link(f"{USE}return library.used(1)\n", other=OTHER, library=LIBRARY)

    assert run(text) == 1 + 3 + 6
    assert "return 0" not in text
    assert "10 + 1" not in text


def test_comments_are_left_out():
    text, _ = link(f"{USE}return library.used(1)\n", other=OTHER, library=LIBRARY)

    assert "--" not in text


def test_what_most_calls_need_is_made_at_once_and_nothing_else():
    main = (
        f"{USE}"
        "local function go(x)\n"
        "  if x > 5 then\n"
        "    return library.rare(x)\n"
        "  end\n"
        "  return library.used(x)\n"
        "end\n"
        "return go(LEVEL)\n"
    )

    text, _ = link(main, other=OTHER, library=LIBRARY)

    assert made(f"LEVEL = 1\n{text}") == len({"go", "used", "helper", "fetch"})
    assert run(f"LEVEL = -1\n{text}") == 1 + 3 + 6
    assert run(f"LEVEL = 7\n{text}") == 7 + 3 + 6 + 11


def test_a_module_that_is_required_in_a_function_is_seldom_needed():
    main = (
        "local function go()\n"
        '  local library = require("lib.library")\n'
        '  return library.used(1) + require("lib.other").fetch(1)\n'
        "end\n"
        "return go()\n"
    )

    text, _ = link(main, other=OTHER, library=LIBRARY)

    assert made(text) == len({"go"})
    assert run(text) == 1 + 3 + 6 + 1


def test_numbers_and_texts_stand_where_they_are_used():
    main = (
        'local NAME, MINUS = "a name", -1\n'
        'local WORD = "a word"\n'
        "local DOWN = -7\n"
        f"{USE}"
        "return WORD .. DOWN .. library.LIMIT .. NAME .. MINUS\n"
    )

    text, _ = link(main, other=OTHER, library=LIBRARY)

    assert run(text) == "a word-73a name-1"
    assert text.splitlines()[-1].startswith('return "a word" .. -7 .. 3 .. M')


def test_names_that_only_look_alike_are_left_alone():
    main = (
        'local word = { text = "word" }\n'
        "local function text(list)\n"
        "  -- word\n"
        "  list.word = { word = word.text, [1] = word.text .. 'word', n = { word } }\n"
        "  return list.word.word .. list.word[1] .. list.word.n[1].text\n"
        "end\n"
        "return text({})\n"
    )

    text, _ = link(main)

    assert run(text) == "word" * 4


def test_values_may_change():
    main = (
        "local count, latest\n"
        "local function step()\n"
        "  count = (count or 0) + 1\n"
        "  latest = count * 10\n"
        "end\n"
        "local function go()\n"
        "  step()\n"
        "  step()\n"
        "  return count + latest\n"
        "end\n"
        "return go()\n"
    )

    text, _ = link(main)

    assert run(text) == 2 + 20


def test_a_text_of_several_lines_is_a_value():
    main = 'local long = [[\none\nlocal two\n]]\nreturn long .. "three"\n'

    text, _ = link(main)

    assert run(text) == "one\nlocal two\nthree"


def test_a_module_that_is_but_a_text_is_a_text():
    text, _ = link('local name = require("name")\nreturn name .. "s"\n')

    assert run(text) == "words"


def test_a_module_that_is_handed_on_is_carried_whole():
    main = (
        'local other = require("lib.other")\nreturn next({ other }, nil) + other.odd\n'
    )

    text, _ = link(main, other=OTHER)

    assert run(text) == 1 + 11
    assert "return 0" in text


def test_a_file_in_another_form_is_carried_whole_and_gets_what_it_requires():
    odd = (
        'local library = require("lib.library")\n'
        "local odd = {}\n"
        "function odd.used() return library.used(1) .. require('name') end\n"
        "function odd.unused() end\n"
        "return odd\n"
    )
    main = 'local odd = require("lib.odd")\nreturn odd.used()\n'

    text, places = link(main, other=OTHER, library=LIBRARY, odd=odd)

    assert run(text) == "10word"
    assert "odd.unused" in text
    assert ("lib.odd.lua", 1) in [place[1:] for place in places]


def test_a_command_in_another_form_is_carried_whole():
    main = f"if true then\n  {USE}  return library.used(1)\nend\n"

    text, places = link(main, other=OTHER, library=LIBRARY)

    assert run(text) == 1 + 3 + 6
    assert places[-1][1:] == ("main.lua", 1)


def test_a_file_whose_names_mean_two_things_is_carried_whole():
    for line in (
        "  local used = x",
        "  for used = 1, 1 do",
        "  for _, used in ipairs({}) do",
        "  local f = function(used)",
        "  local a, M = 1, 2",
    ):
        body = f"local function used()\n{line}\nend\nreturn {{\n  used = used,\n}}\n"

        assert not Module(body).parts
    assert not Module("local function used(used)\nend\nreturn {\n}\n").parts
    assert Module("local function used(other)\nend\nreturn {\n}\n").parts


def test_a_module_that_gives_another_one_is_that():
    same = '-- the same\n\nreturn require("lib.other")\n'
    main = 'local other = require("lib.same")\nreturn other.fetch(5)\n'

    text, _ = link(main, other=OTHER, same=same)

    assert run(text) == 5
    assert "return 0" not in text


def test_what_a_module_does_not_give_is_named():
    with pytest.raises(ScriptError, match=r"lib\.other gives no more$"):
        link('local other = require("lib.other")\nreturn other.more\n', other=OTHER)


def test_each_part_says_where_it_comes_from():
    text, places = link(f"{USE}return library.used(1)\n", other=OTHER, library=LIBRARY)

    lines = text.splitlines()
    found = {(place.file, place.of): lines[place.line - 1] for place in places}
    used = LIBRARY.splitlines().index("local function used(x)") + 1
    assert found["lib.library.lua", used] == "function(x)"
    assert found["main.lua", 2].startswith("return M[")


@pytest.mark.parametrize("file", sorted(scripts.folder().rglob("*.lua"), key=str))
def test_our_own_files_are_taken_apart(file):
    command = file.parent == scripts.folder()
    module = Module(file.read_text(), command=command)

    assert module.parts or module.same or file.name in {"configure.lua", "tryout.lua"}

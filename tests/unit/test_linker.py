"""A bundle carries what its command can reach, and nothing else."""

from redtask.hub.linker import Linker, Module

LIBRARY = """\
-- a library
local other = require("lib.other")

local LIMIT = 3

-- Never called.
local function unused()
  return other.unused()
end

local function helper(x)
  return x + LIMIT
end

local function used(x)
  return helper(other.fetch(x))
end

return {
  used = used,
  unused = unused,
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
  fetch = fetch,
  unused = unused,
}
"""


def link(main, **libraries):
    modules = {f"lib.{name}": Module.parse(text) for name, text in libraries.items()}
    modules[""] = Module.parse(main, whole=True)
    Linker(modules).reach("")
    return {name: module.text() for name, module in modules.items() if module.reached}


def test_what_the_command_cannot_reach_is_left_out():
    texts = link(
        'local library = require("lib.library")\nreturn library.used(1)\n',
        library=LIBRARY,
        other=OTHER,
    )

    assert "unused" not in texts["lib.library"]
    assert "unused" not in texts["lib.other"]
    for needed in ("helper", "LIMIT", "other.fetch"):
        assert needed in texts["lib.library"]


def test_lines_keep_their_numbers():
    texts = link(
        'local library = require("lib.library")\nreturn library.used(1)\n',
        library=LIBRARY,
        other=OTHER,
    )

    before, after = LIBRARY.splitlines(), texts["lib.library"].splitlines()
    assert len(before) == len(after)
    assert after[before.index("local function used(x)")] == "local function used(x)"


def test_a_library_that_is_required_in_a_function_is_carried():
    texts = link(
        'return require("lib.library").used(1)\n', library=LIBRARY, other=OTHER
    )

    assert "used" in texts["lib.library"]
    assert "unused" not in texts["lib.library"]


def test_a_module_that_is_handed_on_is_carried_whole():
    texts = link(
        'local other = require("lib.other")\nreturn pairs(other)\n', other=OTHER
    )

    assert "unused" in texts["lib.other"]


def test_a_module_that_gets_no_name_of_its_own_is_carried_whole():
    texts = link(
        'local a, b = require("lib.other"), 1\nreturn a.fetch(b)\n', other=OTHER
    )

    assert "unused" in texts["lib.other"]


def test_a_file_in_another_form_is_carried_whole():
    odd = (
        "local odd = {}\n"
        "function odd.used() end\n"
        "function odd.unused() end\n"
        "return odd\n"
    )

    texts = link('local odd = require("lib.odd")\nreturn odd.used()\n', odd=odd)

    assert texts["lib.odd"] == odd


def test_a_library_that_nothing_uses_is_not_carried():
    texts = link(
        'local other = require("lib.other")\nreturn 1\n', other=OTHER, library=LIBRARY
    )

    assert set(texts) == {""}

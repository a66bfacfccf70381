"""Schemes of one's own: what is refused, who gets them, and what is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import redtask
from redtask import error
from redtask.hub import calls, scripts
from redtask.hub.scripts import Scheme
from redtask.keyfile import Key
from redtask.scheme import configure, find
from redtask.signing import Keyring
from redtask.store import Store

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "warm.lua"
FINE = """\
local function score(_, used)
  return used
end
local function choose(free, admits)
  for _, uuid in ipairs(redis.call("ZRANGE", free, 0, 99)) do
    if not admits or admits(uuid) then
      return uuid
    end
  end
end
return { score = score, choose = choose }
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write a scheme to the file mine.lua here, and find it."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="mine.lua"):
        Path(name).write_text(text)
        return find(name)

    return write


@pytest.fixture
def store(any_place):
    """Return a store with the keys of a hub that is there, on each server."""
    any_place.client()
    made = Store(any_place.url.partition("?")[0], any_place.name)
    made.keyring = any_place.keyring
    yield made
    made.close()


def dump(place):
    """Return all that is in the server."""
    return {key: place.redis.dump(key) for key in place.redis.scan_iter()}


def test_a_scheme_is_found_by_its_name():
    assert [find(name) for name in scripts.schemes()] == list(scripts.schemes())
    assert set(scripts.schemes()) == {
        "leastload",
        "lru",
        "plainrandom",
        "pure",
        "twobin",
        "weighted",
    }


def test_a_file_is_named_after_itself_and_its_text(file):
    first, second = file(FINE), file(FINE + "\n")

    assert isinstance(first, Scheme)
    assert first.name.startswith("mine@")
    assert first.name != second.name


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("twobins", "no scheme 'twobins'; there are leastload, lru,"),
        ("", "no scheme ''"),
        ("./nowhere.lua", r"nowhere\.lua: the scheme cannot be read"),
        ("./Mine.lua", "cannot be called 'Mine'"),
        ("./2nd.lua", "cannot be called '2nd'"),
    ],
)
def test_what_is_no_scheme_is_refused(word, sentence):
    with pytest.raises(error.SchemeError, match=sentence):
        find(word)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "bytes.lua"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(error.SchemeError, match="cannot be read"):
        find(str(path))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("local x = math.random(3)", 'math.random: .*require\\("lib.dice"\\)'),
        ("local x = math . randomseed", "lib.dice"),
        ('local x = redis.call("KEYS", "*")', "KEYS: a scheme may read only"),
        ('redis.call("set", free, 1)', "set: a scheme may read only"),
        ("local x = KEYS[1]", "KEYS: a scheme gets what it needs as arguments"),
        ("local x = ARGV[1]", "ARGV"),
        ('redis.pcall("GET", free)', "redis: only its function call"),
        ("local r = redis", "redis: only its function call"),
        ("redis.call(command, free)", "a command in quotes"),
        ("local x = cmsgpack.pack({})", "cmsgpack: not all servers have it"),
        ("local x = bit.band(1, 2)", "bit: not all servers"),
        ('local x = loadstring("x")', "loadstring"),
        ("print(free)", "print"),
        ('local hub = require("lib.hub")', r"require: only of lib\.dice, lib"),
        ('local hub = require("schemes.best")', r"schemes\.leastload"),
        ("local x = require", "require: only of"),
    ],
)
def test_what_a_scheme_must_not_say_is_told_with_its_line(file, line, sentence):
    text = FINE.replace("local function choose(free, admits)\n", f"\\g\n{line}\n")
    text = text.replace("\\g", "local function choose(free, admits)")

    with pytest.raises(error.SchemeError, match=rf"^mine\.lua:5: .*{sentence}"):
        file(text)


def test_what_stands_in_comments_and_strings_is_not_said(file):
    text = """\
-- math.random(), redis.call("KEYS", "*")
--[[ ARGV
redis.pcall() ]]
local x = "KEYS" .. 'math.random' .. [[ARGV]] .. [==[redis ]] ]==] .. "\\"KEYS"
"""

    found = file(text + FINE)

    assert isinstance(found, Scheme)


def test_a_text_without_end_is_refused(file):
    with pytest.raises(error.SchemeError, match="at most 65536 bytes"):
        file(FINE + "-- x\n" * 20000)
    with pytest.raises(error.SchemeError, match=r"mine\.lua:1: .*not with #"):
        file("#!lua\n" + FINE)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("  return used", "  return nil", r"score\(0, 0\) must be a number, not nil"),
        ("  return used", "  return 0 / 0", r"score\(0, 0\) must be a number"),
        ("  return used", "  return 1 / 0", r"score\(0, 0\) must be a number"),
        (
            "return { score = score, choose = choose }",
            "return score",
            "must return a table with score and choose, not a function",
        ),
        (
            "return { score = score, choose = choose }",
            "",
            "must return a table with score and choose, not a",
        ),
        (
            "return { score = score, choose = choose }",
            "return { score = score }",
            "must have a function choose",
        ),
        (
            "return { score = score, choose = choose }",
            "return { score = score, choose = choose, more = 1 }",
            "nothing but score and choose, not more",
        ),
        ("      return uuid", '      return "me"', "must be an engine of the set"),
        ("      return uuid", "      return nil", "must be an engine of the set, not"),
        (
            "if not admits or admits(uuid)",
            "if true",
            "must be the only engine that admits lets in, not engine-",
        ),
        (
            "  for _, uuid",
            '  if redis.call("ZCARD", free) == 0 then return "a" end for _, uuid',
            "of an empty set must be nil, not a",
        ),
    ],
)
def test_what_a_scheme_must_do_is_tried(
    store, any_place, file, before, after, sentence
):
    assert before in FINE
    scheme = file(FINE.replace(before, after))
    untouched = dump(any_place)

    with pytest.raises(error.SchemeError, match=rf"^mine\.lua: .*{sentence}"):
        configure(store, {"hwm": 7}, scheme)

    assert dump(any_place) == untouched


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("local x = = 1", "unexpected symbol near '='"),
        ("while true do end", "does not come to an end"),
        ("repeat until false", "does not come to an end"),
        ("local function f() return f() end f()", "does not come to an end"),
        ("undefined.x = 1", "undefined"),
        ("local x = nil .. 'x'", "concatenate a nil value"),
        ('redis.call("ZCARD")', ""),
    ],
)
def test_what_goes_wrong_is_told_with_its_line(store, any_place, file, line, sentence):
    text = FINE.replace("free, admits)\n", f"free, admits)\n{line}\n", 1)
    scheme = file(text)
    untouched = dump(any_place)

    with pytest.raises(error.SchemeError, match=rf"mine\.lua.*{sentence}") as caught:
        configure(store, {}, scheme)

    if sentence:
        assert "mine.lua:5: " in str(caught.value)
    assert dump(any_place) == untouched


@pytest.mark.parametrize("begin", ["for _ = 1, 3 do", "do", "repeat"])
def test_a_body_may_begin_with_a_bracket(store, file, begin):
    end = "until true" if begin == "repeat" else "end"
    body = f"{begin}\n(tostring)(free)\n{end}\n"
    scheme = file(FINE.replace("free, admits)\n", f"free, admits)\n{body}", 1))

    configure(store, {}, scheme)

    assert store.scheme is scheme


def test_what_would_close_what_is_around_it_does_not_compile(place, file):
    place.client()
    store = Store(place.url.partition("?")[0], place.name)
    store.keyring = place.keyring
    scheme = file(FINE + 'end, ["more"] = function()\n')

    with pytest.raises(error.SchemeError, match=r"mine\.lua:12: "):
        configure(store, {}, scheme)

    store.close()


def test_a_scheme_of_ones_own_comes_to_all(any_place, file):
    first, second = any_place.client(), any_place.client("aio")
    any_place.engine()
    view = second.load_balanced_view()
    assert view.apply_async(abs, -1).get() == 1

    configure(first._store, {}, file(FINE))

    assert view.apply_async(abs, -2).get() == 2
    assert first.load_balanced_view().apply_sync(abs, -3) == 3
    assert any_place.client().ids == [0]
    assert first._store.do(calls.status()).scheme.startswith("mine@")


def test_a_text_that_no_key_has_signed_is_not_used(place, file):
    client, other = place.client(), place.client()
    other.ids  # noqa: B018 - it has loaded its scripts
    configure(client._store, {}, file(FINE))
    place.redis.hset(place.keys.scheme(), "text", FINE + "-- changed")

    with pytest.raises(error.SignatureError, match="the hub's scheme mine@"):
        other.ids  # noqa: B018
    with pytest.raises(error.SignatureError, match="does not fit"):
        place.client()


def test_a_text_signed_for_another_hub_is_not_used(place, file):
    client, other = place.client(), place.client()
    scheme = file(FINE)
    configure(client._store, {}, scheme)
    elsewhere = Keyring("elsewhere", place.keyring.keys)
    signature = elsewhere.sign_scheme(scheme.name, scheme.text.encode())
    place.redis.hset(place.keys.scheme(), "signature", signature)

    with pytest.raises(error.SignatureError, match="does not fit"):
        other.ids  # noqa: B018


def test_a_text_that_is_lost_is_missed(place, file):
    client, other = place.client(), place.client()
    configure(client._store, {}, file(FINE))
    place.redis.delete(place.keys.scheme())

    with pytest.raises(error.HubError, match="lost the text of its scheme"):
        other.ids  # noqa: B018
    configure(client._store, {}, "lru")


def test_a_scheme_that_nobody_knows_is_told(place):
    client = place.client()
    place.redis.hset(place.keys.root + ":hub", "format", "4 future")

    with pytest.raises(error.SchemaMismatch, match="the scheme 'future'"):
        client.ids  # noqa: B018

    place.redis.hset(place.keys.root + ":hub", "format", "4 leastload")


def test_an_unsigned_hub_may_have_one_of_ones_own(place, file):
    client = redtask.Client(place.url, key="off")
    configure(client._store, {}, file(FINE))
    client.close()

    with redtask.Client(place.url, key="off") as other:
        assert other.ids == []


def test_who_has_no_key_is_told_which_to_get(place, file):
    configure(place.client()._store, {}, file(FINE))

    with pytest.raises(error.SignatureError, match="which no key here can verify"):
        redtask.Client(place.url)
    with pytest.raises(error.SignatureError, match="with a key that is not ours"):
        redtask.Client(place.url, key=Key.new().text)


def test_pure_raises_for_flags_that_it_has_not(place, face):
    client = place.client(face)
    place.engine()
    configure(place.client()._store, {}, "pure")
    view = client.load_balanced_view()

    assert view.apply_async(abs, -1).get() == 1
    with pytest.raises(error.PureScheme, match="pure, which has no retries"):
        client.load_balanced_view(retries=2).apply_async(abs, -1)
    assert view.apply_async(abs, -2).get() == 2


def test_one_of_ones_own_may_build_on_another(any_place, file):
    client = any_place.client()
    any_place.engine()
    text = """\
local twobin, dice = require("schemes.twobin"), require("lib.dice")
local lru = require("schemes.lru")
local function choose(free, admits)
  return (dice.below(2) == 0 and lru or twobin).choose(free, admits)
end
return { score = twobin.score, choose = choose }
"""

    configure(client._store, {}, file(text))

    view = client.load_balanced_view()
    assert [view.apply_sync(abs, -at) for at in range(9)] == list(range(9))


def test_the_example_is_a_scheme(place, tmp_path):
    client = place.client()
    place.engine()
    path = tmp_path / EXAMPLE.name
    shutil.copy(EXAMPLE, path)

    configure(client._store, {}, find(str(path)))

    assert client.load_balanced_view().map_sync(abs, range(5)) == list(range(5))

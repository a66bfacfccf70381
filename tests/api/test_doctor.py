"""The doctor on a hub that lives: finds what was broken by hand, and mends it."""

import json

import pytest
from click.testing import CliRunner

import redtask
from redtask.cli import group
from redtask.doctor import server
from redtask.doctor.data import Examination
from redtask.doctor.visit import visit
from redtask.doctor.walk import WELL, Walk
from redtask.profile import Profile
from redtask.store import Store


@pytest.fixture
def hub(place):
    """A hub with an engine and tasks that have ended."""
    place.engine()
    client = place.client()
    view = client.load_balanced_view()
    view.map(lambda n: n, range(20), block=True)
    place.ids = view.map_async(lambda n: "x" * n, range(100, 103)).msg_ids
    client.get_result(place.ids).get(10)
    place.store = client._store
    return place


def codes(hub, **options):
    """Return what a look at all data finds."""
    found = Examination(hub.store, **options).run()
    return sorted((one.code, one.fate) for one in found)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """Nobody is on the way here: what is wrong is wrong at once."""
    monkeypatch.setattr("redtask.doctor.data._MOMENT", 0)


def test_a_hub_that_lives_is_well(hub):
    assert codes(hub) == []


def test_every_key_and_every_entry_is_looked_at(hub):
    things = list(Walk(hub.store).things())
    kinds = {kind for kind, _ in things}

    tasks = [name for kind, name in things if kind == "task"]
    assert len(tasks) == len(set(tasks)) == 23
    assert kinds >= {"task", "engine", "entry", "function", "hub", "expiring", WELL}
    assert sum(name.startswith("ended:completed ") for _, name in things) == 23


def test_the_script_is_spared_entries_that_plain_reads_show_to_be_right(
    hub, monkeypatch
):
    seen, asked = Examination(hub.store), []
    examine = seen._examine

    def noting(piece, **how):
        asked.extend(piece)
        return examine(piece, **how)

    monkeypatch.setattr(seen, "_examine", noting)

    assert seen.run() == []

    assert sum(kind == "task" for kind, _ in asked) == 23
    assert [name for _, name in asked if "ended:" in name or name[-4:] == " run"] == []


def test_ended_tasks_in_a_wrong_place_are_found_and_mended(hub):
    root, redis = hub.keys.root, hub.redis
    single = hub.client().load_balanced_view().apply_async(abs, 1)
    single.get(10)
    redis.zadd(f"{root}:ended:failed", {hub.ids[0]: 1, single.msg_ids[0]: 1})
    redis.zadd(f"{root}:ended:completed", {"zz-1": 1})
    redis.hset(f"{root}:runs", "zz-2", "c\0 1:a \0 1 \0 1 \0 1 \0 N")
    wrong = ["beside-orphan", "entry-stray", "entry-stray", "entry-stray"]

    assert codes(hub) == [(code, "found") for code in wrong]
    assert codes(hub, mend=True) == [(code, "mended") for code in wrong]
    assert codes(hub) == []


def test_flaws_of_every_kind_are_found_and_mended(hub):
    root, redis = hub.keys.root, hub.redis
    redis.zrem(f"{root}:ended:completed", hub.ids[0])
    redis.zadd(f"{root}:waiting", {"zz-1": 1})
    redis.set(f"{root}:task:zz-9:args", "x")
    redis.persist(next(redis.scan_iter(f"{root}:done:*", count=1000)))
    redis.hincrby(f"{root}:queues", "default", 3)
    redis.hincrby(f"{root}:hub", "kept_bytes", 1000)
    wrong = [
        "beside-orphan", "entry-stray", "expiring-forever", "tally-count",
        "tally-count", "task-place",
    ]  # fmt: skip

    assert codes(hub) == [(code, "found") for code in wrong]
    assert codes(hub, mend=True) == [(code, "mended") for code in wrong]
    assert codes(hub) == []


def test_of_a_sample_nothing_is_summed_up(hub):
    hub.redis.hincrby(f"{hub.keys.root}:queues", "default", 3)
    examination = Examination(hub.store, most=10)

    assert examination.run() == []
    assert examination.looked == 10
    hub.redis.hincrby(f"{hub.keys.root}:queues", "default", -3)


def test_keys_of_others_are_told_and_left(hub):
    key = f"{hub.keys.root}:whatever"
    hub.redis.set(key, 1)

    found = visit(Profile.load(url=hub.url, key=hub.key), repair=True)

    assert [one.subject for one in found.findings if one.code == "unknown"] == [
        "whatever"
    ]
    assert hub.redis.delete(key) == 1


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("hub", "hash"),
        ("ended:failed", "zset"),
        ("story", "stream"),
        ("task:zz-1", "hash"),
        ("task:zz-1:attempts", "list"),
        ("engine:e1", "hash"),
        ("engine:e1:held", "hash"),
        ("engine:e1:classes", "zset"),
        ("worker:w:control", "list"),
    ],
)
def test_a_key_of_a_wrong_type_is_told(hub, name, right):
    key, aside = f"{hub.keys.root}:{name}", f"aside {name}"
    was = hub.redis.exists(key) and hub.redis.rename(key, aside)
    hub.redis.set(key, "x")

    seen = visit(Profile.load(url=hub.url, key=hub.key), repair=True)
    hub.redis.delete(key)
    if was:
        hub.redis.rename(aside, key)

    (found,) = [one for one in seen.findings if one.area == "data"]
    assert (found.code, found.subject, found.fate) == ("key-type", name, "left")
    assert found.words == f"key {name}: it is a string, and not a {right}"
    assert found.advice.startswith(f"RENAME {key} ")
    assert not seen.all_well


def test_who_meets_a_key_of_a_wrong_type_is_sent_to_the_doctor(hub):
    key = f"{hub.keys.root}:task:zz-1"
    hub.redis.set(key, "x")

    with pytest.raises(redtask.error.HubError, match="redtask doctor says which"):
        hub.store.command("HGETALL", key)
    hub.redis.delete(key)


def test_what_comes_ahead_or_is_on_its_way_is_no_key_of_others(hub):
    keys = hub.keys
    came = [keys.parcel("c-1"), keys.parcel("c-1", "1:a")]
    lists = [keys.answer("n1"), keys.control("w")]
    for key in came:
        hub.redis.set(key, "x")
    for key in lists:
        hub.redis.rpush(key, "x")
    came += lists
    for key in came:
        hub.redis.expire(key, 60)
    hub.redis.zadd(f"{keys.root}:hidden", {"0" * 8: 1})

    found = visit(Profile.load(url=hub.url, key=hub.key))

    assert [one.words for one in found.findings if one.area == "data"] == []
    assert hub.redis.delete(*came, f"{keys.root}:hidden") == len(came) + 1


def test_a_visit_tells_figures_and_progress(hub):
    told = []
    seen = visit(
        Profile.load(url=hub.url, key=hub.key),
        progress=lambda looked, suspects: told.append((looked, suspects)),
    )

    assert seen.figures["engines"] == seen.figures["workers"] == 1
    assert seen.figures["looked"] == told[-1][0] > 50
    assert seen.figures["rtt"] > 0
    assert list(seen.figures["versions"]) == [redtask.__version__]


def test_a_hub_that_is_not_there_is_a_finding(place):
    seen = visit(Profile.load(url=place.url, key=place.key))

    assert [one.code for one in seen.findings if one.area == "data"] == ["nohub"]
    assert not seen.all_well


def test_a_user_without_rights_is_told_what_it_lacks(start_server):
    system = start_server("system")
    with system.redis() as redis:
        redis.execute_command(
            "ACL", "SETUSER", "poor", "on", ">x", "~*", "+@all", "-blpop", "-zadd"
        )
    place = system.url.replace("://", "://poor:x@", 1)

    found = {}
    for name, url in (("rich", system.url), ("poor", place)):
        store = Store(url, "h")
        about, _ = server.ask(store)
        found[name] = server.rights(store, about)
        store.close()

    assert found["rich"] == []
    (lacking,) = found["poor"]
    assert "may not say ZADD, BLPOP" in lacking.words


@pytest.fixture
def user(start_server):
    """Make users of a Redis; return the profile of each."""
    system = start_server("system")

    def make(*rules):
        with system.redis() as redis:
            redis.execute_command("ACL", "SETUSER", "poor", "on", ">x", "~*", *rules)
        url = system.url.replace("://", "://poor:x@", 1)
        redtask.Client(system.url, key="off").close()
        return Profile.load(url=url, key="off")

    return make


def test_who_may_not_ask_for_rights_is_told_so(user):
    seen = visit(user("+@all", "-acl"))

    (note,) = [one for one in seen.findings if one.code == "rights"]
    assert note.grade == "note"
    assert note.words.startswith("rights could not be examined: ")
    assert "+acl|dryrun" in note.advice


def test_rights_are_named_all_together_before_one_of_them_is_refused(user):
    seen = visit(user("+@all", "-evalsha", "-time", "-hset"))

    (lacking,) = [one for one in seen.findings if one.code == "rights"]
    assert lacking.words.endswith("may not say EVALSHA, HSET, TIME")
    assert not seen.all_well


@pytest.fixture
def run(place, monkeypatch):
    """Call the command."""
    monkeypatch.setenv("REDTASK_URL", place.url)
    monkeypatch.setenv("REDTASK_KEY", place.key)
    return lambda *words: CliRunner().invoke(group, ["doctor", *words])


def test_the_command_says_whether_all_is_well(hub, run):
    hub.redis.zadd(f"{hub.keys.root}:waiting", {"zz-1": 1})

    sick = run("--json")
    mended = run("--repair")
    (rest,) = [one for one in json.loads(run("--json").output)["findings"]
               if one["area"] == "data"] or [None]  # fmt: skip

    (finding,) = [
        one for one in json.loads(sick.output)["findings"] if one["area"] == "data"
    ]
    assert (finding["code"], finding["fate"]) == ("entry-stray", "found")
    assert "mended\tdata\tentry-stray\tzz-1" in mended.output.replace("waiting ", "")
    assert rest is None


def test_the_command_says_what_to_do_to_people_and_programs(run, monkeypatch):
    findings = json.loads(run("--no-data", "--json").output)["findings"]
    advice = next(one["advice"] for one in findings if one["advice"])

    rows = [line.split("\t") for line in run("--no-data").output.splitlines()]
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    monkeypatch.setenv("COLUMNS", "60")
    shown = run("--no-data").output

    assert advice in [row[5] for row in rows]
    assert set(advice.split()) <= set(shown.split())
    assert "…" not in shown


def test_the_command_refuses_what_cannot_be(run):
    assert run("--repair", "--no-data").exit_code == 2
    assert run("--url", "redis://127.0.0.1:1", "--json").exit_code == 69
    assert json.loads(run("--no-data", "--json").output)["all_well"] is False

"""What a screen wishes to see is read from a hub, bounded and in one round trip."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.views import Event
from redtask.payload import pack_error
from redtask.store import Store
from redtask.tui.reader import Reader, traceback_of
from redtask.tui.state import TABS, Subject, Wish
from tests.hubs import error_in


@pytest.fixture
def store(real_hub):
    """A connection to a hub that is told the time."""
    found = Store(real_hub.server.url, real_hub.keys.name, patience=0.0)
    yield found
    found.close()


@pytest.fixture
def reader(store):
    """What reads for a screen."""
    return Reader(store, 2.0)


@pytest.fixture
def busy(real_hub):
    """A hub in use: the reader is not told the time."""
    real_hub.join(1, "e")
    real_hub.submit(2, "c-1", "c-2", fn="story", label="one")
    (work,) = real_hub.take(3, "e")
    envelope = bytes(20) + pack_error(ValueError("no"), "Traceback: here", {})
    real_hub.turn(4, "e", 1, error_in(work, envelope, stdout="x" * 100, stderr="oh"))
    real_hub.submit(5, "c-3", after="as c-2 c-2", fn="story")
    real_hub.configure(6, testing=0)
    return real_hub


def test_each_tab_takes_one_round_trip(busy, store, reader):
    reader.read(Wish())
    trips = []
    exchange = store._exchange

    def count(commands, **options):
        trips.append(len(commands))
        return exchange(commands, **options)

    store._exchange = count

    for tab in TABS:
        reader.read(
            Wish(tab, {"tasks": "running", "failed": "failed"}.get(tab, ""), count=9)
        )
    loads = [count for count in trips if count == 1]
    trips.clear()
    for tab in TABS:
        reader.read(
            Wish(tab, {"tasks": "running", "failed": "failed"}.get(tab, ""), count=9)
        )

    assert trips == [1, 2, 2, 2, 2]
    assert loads


def test_the_first_look_brings_history_and_later_ones_do_not(busy, reader):
    assert len(reader.read(Wish()).overview.buckets) == 60
    assert reader.read(Wish()).overview.buckets == ()


def test_the_page_of_a_tab_is_what_there_is(busy, reader):
    engines = reader.read(Wish("engines", count=5)).rows
    running = reader.read(Wish("tasks", "running", count=5)).rows
    failed = reader.read(Wish("failed", "failed", count=5, text="VALUEERROR")).rows
    events = reader.read(Wish("events", count=5)).rows

    assert [row.uuid for row in engines.items] == ["e"]
    assert [row.task_id for row in running.items] == ["c-2"]
    assert [row.task_id for row in failed.items] == ["c-1"]
    assert [row.event for row in events.items] == ["failed", "engine joined"]
    assert {page.more for page in (engines, running, failed, events)} == {None}


def test_pages_go_on_where_they_ended(busy, reader):
    busy.redis.hset(busy.key("hub"), "testing", 1)
    busy.join(8, *"abc")
    busy.configure(9, testing=0)
    first = reader.read(Wish("engines", count=2)).rows
    second = reader.read(Wish("engines", start=first.more, count=2)).rows
    newest = reader.read(Wish("events", count=3)).rows
    older = reader.read(Wish("events", start=newest.more, count=3)).rows

    assert [row.uuid for row in first.items + second.items] == ["e", "a", "b", "c"]
    assert [one.about["engine"] for one in newest.items + older.items] == list("cbaee")


def test_events_are_found_by_a_text(busy, reader):
    busy.redis.hset(busy.key("hub"), "testing", 1)
    busy.join(8, "needle", "hay")
    busy.configure(9, testing=0)

    found = reader.read(Wish("events", count=1, text="NEEDLE")).rows
    joined = reader.read(Wish("events", count=1, text="joined")).rows

    assert [one.about["engine"] for one in found.items] == ["needle"]
    assert found.more is None
    assert joined.more == joined.items[0].entry


def test_how_many_failures_were_searched_for_a_text_is_known(real_hub, reader):
    for number in range(70):
        ttl = {"ttl": 9} if number % 3 else {}
        real_hub.submit(1, f"c-{number}", **ttl)
        real_hub.end(2, "error", engine=f"e{number}")
    real_hub.configure(3, testing=0)

    first = reader.read(Wish("failed", "failed", count=5, text="needle")).rows
    wish = Wish("failed", "failed", first.more, count=5, text="needle")
    last = reader.read(wish).rows

    assert (first.items, first.searched) == ((), 60)
    assert (last.items, last.more) == ((), None)


def test_how_many_were_searched_for_a_text_is_known(real_hub, reader):
    real_hub.submit(1, "c-1")
    names = [f"d-{number}" for number in range(70)]
    real_hub.submit(2, *names, after="as c-1 c-1")
    real_hub.configure(3, testing=0)

    first = reader.read(Wish("tasks", "waiting", count=5, text="needle")).rows
    wish = Wish("tasks", "waiting", first.more, count=5, text="needle")
    last = reader.read(wish).rows
    events = reader.read(Wish("events", count=5, text="needle")).rows

    assert (first.items, first.searched) == ((), 60)
    assert (last.items, last.more) == ((), None)
    assert (events.items, events.more) == ((), None)


def test_a_task_is_told_whole_and_nothing_is_unpickled(busy, reader):
    card = reader.read(Wish(subject=Subject("task", "c-1"))).card

    assert (card.gone, card.stdout, card.stderr) == (False, "x" * 100, "oh")
    assert card.traceback == "Traceback: here"
    assert card.fields["function"] == "story"
    assert card.fields["label"] == "one"
    assert list(card.fields)[:2] == ["state", "function"]
    assert not {"args", "error", "fn", "token", "marks"} & set(card.fields)
    assert card.lists["failed tries"][0].startswith("engine 0: ValueError")
    assert "it raised ValueError: no" in str(card.why)


def test_an_engine_whose_number_nobody_knows_any_more_goes_by_its_uuid(busy, reader):
    key = busy.key("task:c-1:attempts")
    (told,) = busy.redis.lrange(key, 0, 0)
    busy.redis.lset(key, 0, told.replace(b"\te\t", b"\tlong-ago\t"))
    wish = Wish(subject=Subject("task", "c-1"))

    for _ in range(2):
        (line, *_) = reader.read(wish).card.lists["failed tries"]
        assert line.startswith("engine long-ago: ValueError")


def test_a_task_is_shown_with_the_module_of_its_function(busy, reader):
    digest = busy.redis.hget(busy.key("task:c-1"), "fn").decode().split()[0]
    key = busy.key(f"fn:{digest}")

    busy.redis.hset(key, "blob", b"njobs.night:story")
    named = reader.read(Wish(subject=Subject("task", "c-1"))).card
    busy.redis.hset(key, "blob", b"v\x03\x0bjobs.night:story")
    reader._modules.clear()
    sent = reader.read(Wish(subject=Subject("task", "c-1"))).card

    assert list(named.fields)[:3] == ["state", "function", "module"]
    assert named.fields["module"] == "jobs.night"
    assert "module" not in sent.fields


def test_what_a_task_depends_on_is_shown_though_it_stands_beside(busy, reader):
    busy.redis.hset(busy.key("hub"), "testing", 1)
    many = " ".join(f"c-{n}" for n in range(50, 90))
    busy.submit(8, *many.split())
    busy.submit(9, "d-1", after=f"as {many}")
    busy.configure(10, testing=0)

    card = reader.read(Wish(subject=Subject("task", "d-1"))).card

    assert card.fields["after"] == f"as {many}"


def test_an_engine_is_told_with_its_worker_and_its_tasks(busy, reader):
    card = {"host": "node01", "pid": "17", "begun": "12345"}
    busy.redis.hset(busy.keys.worker("w"), mapping=card)

    card = reader.read(Wish("engines", subject=Subject("engine", "e"))).card

    assert card.fields["id"] == "0"
    assert card.fields["worker"] == "w"
    assert card.fields["worker's host"] == "node01"
    # Ticks since the machine was started tell nobody anything.
    assert "worker's begun" not in card.fields
    assert card.lists == {"tasks that it took": ("c-2",)}


def test_events_that_others_have_written_are_told_as_they_are(busy, reader):
    story = busy.key("story")
    busy.redis.xadd(story, {"a": "b"})
    busy.redis.xadd(story, {"at": "soon", "event": "lost"})

    second, first = reader.read(Wish("events", count=2)).rows.items

    assert (first.event, first.about, second.event) == ("", {"a": "b"}, "lost")
    for one in (first, second):
        assert one.at == int(one.entry.partition("-")[0])
        card = reader.read(Wish("events", subject=Subject("event", one.entry))).card
        assert card.fields


def test_an_event_is_told(busy, reader):
    (event,) = reader.read(Wish("events", count=1)).rows.items
    assert isinstance(event, Event)

    card = reader.read(Wish("events", subject=Subject("event", event.entry))).card

    assert card.fields["event"] == "failed"


@pytest.mark.parametrize(
    "subject",
    [
        Subject("task", "c-99"),
        Subject("task", "no id"),
        Subject("engine", "nobody"),
        Subject("event", "1-1"),
    ],
)
def test_what_is_no_more_is_gone(busy, reader, subject):
    assert reader.read(Wish(subject=subject)).card.gone


def test_a_hub_that_is_no_more_is_an_error(busy, reader):
    busy.redis.flushall()

    with pytest.raises(error.NoHub):
        reader.read(Wish())
    busy.do(calls.configure({"testing": 1}, create=True))


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"short",
        bytes(24) + b"{}",
        bytes(20) + b"\xff\xff\xff\xffx",
        bytes(20) + b"\0\0\0\2[]",
        bytes(20) + (200_000).to_bytes(4, "big") + b"[" * 200_000,
    ],
)
def test_an_error_that_is_none_has_no_traceback(envelope):
    assert traceback_of(envelope) == ""


def test_without_a_traceback_the_error_is_told():
    envelope = bytes(20) + pack_error(ValueError("no"), "", {})

    assert traceback_of(envelope) == "ValueError: no"


def test_nothing_is_changed_by_looking(busy, reader):
    before = busy.dump()

    for tab in TABS:
        reader.read(
            Wish(tab, {"tasks": "ready", "failed": "failed"}.get(tab, ""), count=9)
        )
    reader.read(Wish(subject=Subject("task", "c-1")))
    reader.read(Wish(subject=Subject("engine", "e")))

    assert busy.dump() == before

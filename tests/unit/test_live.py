"""Who listens to tasks: a conversation held by hand, and the supervisor's side."""

from __future__ import annotations

from typing import Any

import pytest

from redtask import error, live
from redtask.engine.block import NEVER, Block
from redtask.engine.live import Live, last_words
from redtask.engine.seat import Seat
from redtask.flows import Commands, Hear
from redtask.hub.keys import Keys
from redtask.hub.records import Attended, Work
from redtask.live import Listener, Output
from redtask.signing import Keyring
from tests.talks import Clock, Talk

KEYS = Keys("hub")
RUNS = Attended("running", "w", "3/u", "1:n")
READY = Attended("ready", "", "", "")
ENDED = Attended("completed", "", "", "")
WORK = Work("c-1", "1:n", "fn", b"", "c-1", "")


class Session:
    """What a listener needs of a client."""

    keys = KEYS
    keyring = Keyring("hub", (), signed=False)


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(live, "time", found)
    return found


@pytest.fixture
def listener(clock):
    session: Any = Session()
    return Listener(session, ["c-1"])


def hear(listener, *replies):
    """Hold a conversation; return it, and what it said in the end."""
    return Talk(listener.hear()).answer(*replies)


def entries(*pairs):
    """Return what a stream says."""
    found = [
        (b"%d-0" % at, [name.encode(), value])
        for at, (name, value) in enumerate(pairs, 1)
    ]
    return [[KEYS.live("c-1").encode(), found]]


def begun(listener):
    """Have it hear of a task that runs."""
    talk = hear(listener, [RUNS], [(9, 0)], True)
    assert isinstance(talk.step, Hear)
    return talk


def test_the_worker_of_a_task_that_runs_is_told(listener):
    talk = hear(listener, [RUNS], [(9, 0)])

    worker, message = talk.asks("tell")[1:]
    text = Session.keyring.open_control("w", 9000, message)
    assert (worker, text) == ("w", "listen c-1 1:n")


def test_what_is_said_comes_in_order_and_once(listener):
    talk = begun(listener)

    talk.answer(
        entries(
            ("stdout", b"1:n 0 one\n"),
            ("stdout", b"1:n 2 e\ntwo"),
            ("progress", b"1:n 0.5 half"),
            ("progress", b"1:n 0.5 half"),
            ("stderr", b"1:n 0 err"),
        )
    )

    assert talk.value == [
        Output("c-1", 1, "stdout", "one\n"),
        Output("c-1", 1, "stdout", "two"),
        Output("c-1", 1, "progress", "half", 0.5),
        Output("c-1", 1, "stderr", "err"),
    ]


def test_the_stream_is_read_on_from_where_it_was(listener):
    begun(listener).answer(entries(("stdout", b"1:n 0 one\n")))

    talk = hear(listener)

    assert talk.step.words[-2:] == (KEYS.live("c-1"), "1-0")


def test_letters_may_be_parted(listener):
    talk = begun(listener)
    data = "ä".encode()

    talk.answer(
        entries(("stdout", b"1:n 0 " + data[:1]), ("stdout", b"1:n 1 " + data[1:]))
    )

    assert talk.value == [Output("c-1", 1, "stdout", "ä")]


def test_what_was_missed_is_said(listener):
    talk = begun(listener)

    data = "ä".encode()[1:] + b"x"
    talk.answer(entries(("stdout", b"1:n 0 one"), ("stdout", b"1:n 103 " + data)))

    assert [said.text for said in talk.value] == [
        "one",
        "\n[... 100 bytes left out ...]\nx",
    ]


def test_who_comes_late_begins_where_there_is_something(listener):
    talk = begun(listener)

    talk.answer(entries(("stdout", b"1:n 500 more")))

    assert talk.value == [Output("c-1", 1, "stdout", "more")]


def test_a_task_that_is_yet_to_run_is_waited_for(listener):
    talk = hear(listener, [READY])
    assert isinstance(talk.step, Hear)

    talk.answer(entries(("begun", b"w 3/u 1:n")))
    assert talk.value == []
    again = hear(listener, [RUNS], [(9, 0)])

    assert again.asks("tell")[1] == "w"


def test_a_further_try_begins_anew_and_the_old_is_not_heard(listener):
    begun(listener).answer(entries(("stdout", b"1:n 0 one\n")))

    talk = hear(listener)
    talk.answer(
        entries(
            ("begun", b"w 3/u 2:m"),
            ("stdout", b"1:n 4 late"),
            ("stdout", b"2:m 0 two\n"),
        )
    )

    assert talk.value == [Output("c-1", 2, "stdout", "two\n")]


def test_an_ended_task_says_what_was_not_heard(listener):
    begun(listener).answer(entries(("stdout", b"1:n 0 one\n"), ("ended", b"completed")))

    talk = hear(listener, [ENDED])
    assert isinstance(talk.step, Commands)
    record = [b"state", b"completed", b"token", b"1:n", b"progress", b"1 done"]
    none = [None, None]
    talk.answer([*none, record], [*none, b"one\ntwo\n", None], [*none, None, b"err"])

    assert talk.value == [
        Output("c-1", 1, "stdout", "two\n"),
        Output("c-1", 1, "stderr", "err"),
        Output("c-1", 1, "progress", "done", 1.0),
    ]
    assert listener.done


def test_of_very_much_the_end_is_said(listener):
    begun(listener).answer(entries(("stdout", b"1:n 0 one\n"), ("ended", b"completed")))

    record = [b"state", b"completed", b"token", b"1:n"]
    much = b"x" * (512 * 1024) + b"y" * 10
    none = [None, None]
    talk = hear(listener, [ENDED], [*none, record], [*none, b"", much], [*none, *none])

    (said,) = talk.value
    assert said.text.startswith("\n[... 1 bytes left out ...]\nx")
    assert said.text.endswith("y" * 10)


def test_an_unknown_task_is_an_error(listener):
    with pytest.raises(error.TaskLost, match="c-1: the hub has no such task"):
        hear(listener, [Attended("unknown", "", "", "")])


def test_a_lost_connection_costs_a_look(listener):
    talk = begun(listener).answer(error.ConnectionLost("away"))

    assert talk.value == []
    assert hear(listener).asks("attend")[1:] == ["c-1"]


def test_a_worker_is_told_again_now_and_then(listener, clock):
    begun(listener).answer([])
    clock.now += 6
    talk = hear(listener, [RUNS])
    assert isinstance(talk.step, Hear)
    talk.answer(None)

    clock.now += 10
    talk = hear(listener, [RUNS], [(9, 0)])

    assert talk.asks("tell")[1] == "w"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (None, (None, "")),
        ("", (None, "")),
        ("0.5", (0.5, "")),
        ("0.5 reading it", (0.5, "reading it")),
        ("what", (None, "")),
    ],
)
def test_progress_is_read(text, read):
    assert live.read_progress(text) == read


# -- the supervisor


class Store:
    """Hears what a supervisor says."""

    def __init__(self):
        self.said = []
        self.problem = None
        self.stale = False

    def do(self, call):
        if self.problem:
            raise self.problem
        args = list(call.args)
        self.said.append(args[1:])
        return call.read([b"ok", b"stale" if self.stale else b"heard"])


@pytest.fixture
def seat():
    found = Seat(0, Block())
    found.pid = 1
    return found


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def teller(store, seat):
    return Live(store, [seat])


def test_progress_is_told_when_it_is_new(teller, store, seat):
    seat.block.slate.progress("0.5 half", WORK)
    teller.wake()
    assert teller.due < float("inf")

    teller.look()
    seat.block.slate.progress("0.5 half", WORK)
    teller.look()

    assert store.said == [["c-1", "1:n", 1, "progress", "0.5 half"]]
    assert teller.due == float("inf")


def test_what_is_printed_is_told_to_who_listens(teller, store, seat):
    slate = seat.block.slate
    slate.write(0, "one\n", WORK)
    teller.look()
    assert store.said == []

    teller.listen("c-1", "1:n")
    teller.look()
    slate.write(0, "two\n", WORK)
    slate.write(1, "err", WORK)
    teller.look()

    assert store.said == [
        ["c-1", "1:n", 1, "stdout", b"0 one\n"],
        ["c-1", "1:n", 2, "stdout", b"4 two\n", "stderr", b"0 err"],
    ]


def test_another_task_is_not_told_of(teller, store, seat):
    seat.block.slate.write(0, "one\n", WORK._replace(task_id="c-2"))

    teller.listen("c-1", "1:n")
    teller.look()

    assert store.said == []


def test_what_the_hub_did_not_hear_is_told_again(teller, store, seat):
    seat.block.slate.write(0, "one\n", WORK)
    teller.listen("c-1", "1:n")
    store.problem = error.ConnectionLost("away")
    teller.look()
    assert teller.due < float("inf")

    store.problem = None
    teller.look()

    assert store.said == [["c-1", "1:n", 1, "stdout", b"0 one\n"]]


def test_a_try_that_does_not_run_any_more_is_not_listened_to(teller, store, seat):
    seat.block.slate.write(0, "one\n", WORK)
    store.stale = True
    teller.listen("c-1", "1:n")
    teller.look()

    seat.block.slate.write(0, "two\n", WORK)
    teller.wake()
    teller.look()

    assert len(store.said) == 1


def test_who_listens_no_more_is_forgotten(teller, store, seat, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("redtask.engine.live.time", clock)
    teller.listen("c-1", "1:n")
    teller.look()

    clock.now += 60
    teller.look()
    seat.block.slate.write(0, "one\n", WORK)
    teller.look()

    assert store.said == []
    assert not seat.block.slate.take_told()


def test_much_is_cut_to_its_end(teller, store, seat):
    seat.block.slate.write(0, "x" * 30_000 + "y", WORK)

    teller.listen("c-1", "1:n")
    teller.look()

    ((*_, said),) = store.said
    assert said == b"%d " % (30_001 - 16_384) + b"x" * 16_383 + b"y"


def test_who_listens_anew_hears_what_is_there(teller, store, seat):
    seat.block.slate.write(0, "one\n", WORK)
    seat.block.slate.progress("0.5", WORK)
    teller.look()

    for _ in range(2):
        teller.listen("c-1", "1:n")
        teller.look()
        teller._heard.clear()

    whole = ["c-1", "1:n", 2, "progress", "0.5", "stdout", b"0 one\n"]
    assert store.said[1:] == [whole, whole]


def test_nothing_is_told_of_an_engine_that_turns_to_another_task(teller, store, seat):
    seat.block.slate.progress("0.5", WORK)
    seat.block.slate._fields[0] += 1

    teller.look()

    assert store.said == []
    assert teller.due < float("inf")


def test_the_last_words_of_a_dead_engine(seat):
    slate = seat.block.slate
    slate.write(0, "x" * 40_000, WORK)
    slate.write(1, "no memory", WORK)
    slate.progress("0.9 nearly", WORK)

    task, token, *said = last_words(seat, "c-1")

    assert (task, token) == ("c-1", "1:n")
    assert said[0] == "stdout"
    assert said[1].startswith(b"[... 7232 bytes left out ...]\nxxx")
    assert said[2:] == ["stderr", b"no memory", "progress", "0.9 nearly"]
    assert last_words(seat, "c-2") == []


def test_who_said_nothing_has_no_last_words(seat):
    assert last_words(seat, "c-1") == []


def test_who_was_asked_where_it_is_has_that_among_its_last_words(seat):
    seat.block.slate.write(1, "no memory", WORK)
    seat.stack = "HERE\n"

    *_, name, said = last_words(seat, "c-1")

    assert (name, said) == (
        "stderr",
        b"no memory\nWhere it was when it was ended, most recent call first:\nHERE\n",
    )


def test_it_is_not_said_among_the_words_of_the_task_before(seat):
    seat.block.slate.write(0, "early", WORK)
    seat.stack = "HERE\n"
    seat.block.joined(0, 15_000, NEVER)
    seat.block.open(2, ["c-7", "2:n"])
    seat.block.begin(0, 1)

    task, token, name, said = last_words(seat, "c-7")

    assert (task, token, name) == ("c-7", "2:n", "stderr")
    assert said.startswith(b"Where it was")

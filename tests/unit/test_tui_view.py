"""States as lines."""

import re
from dataclasses import replace
from typing import Any

import pytest

from redtask.cli.output import STATES
from redtask.hub.views import Failures, Queue
from redtask.hub.why import Why
from redtask.tui import model, view
from redtask.tui.state import TABS, Card, Notice, Size, Subject
from redtask.tui.text import ASCII
from tests.shown import (
    NOW,
    engine,
    event,
    failed_card,
    overview,
    press,
    read,
    screen,
    task,
)

SIZES = [(80, 24), (200, 50), (40, 10), (120, 30), (81, 11), (300, 100)]
EVIL = "\x1b[31m[bold red]\x07\u202e\nx\x9b[/]"
ROWS: dict[str, list[Any]] = {
    "engines": [engine(0), engine(1, held=0, task_id=""), engine(2, lease=-1),
                engine(3, state="leaving"), engine(4, state="drained")],
    "tasks": [task(1, engine="0/e", started=str(NOW - 500), label="l"), task(2)],
    "failed": [task(1, ename="ValueError", evalue="no", engine="3/x", took="2000 2000",
                    started=f"{NOW - 5000}.250", tries="2"),
               task(2, verdict="impossible", reason="c-1 failed", ended=str(NOW))],
    "events": [event(1, task="abcdefgh-1", engine="e", why="killed"),
               event(2, "engine joined", engine="e", id="7", worker="w")],
}  # fmt: skip


def shown(state):
    return "\n".join(line.plain for line in view.draw(state))


def on(tab, width=80, height=24):
    state = press(screen(width, height), str(TABS.index(tab) + 1))
    return read(state, *ROWS.get(tab, ()), more="18 0")


def screens(width, height):
    """Return every kind of screen."""
    yield screen(width, height)
    yield press(screen(width, height), "2")
    for tab in TABS:
        state = on(tab, width, height)
        yield state
        yield press(state, "?")
        yield press(state, "/", "x", "y")
        yield read(press(state, "/", "x", "enter"))
        yield model.lose(state, "Connection refused", 112.0)
        yield press(state, "space")
        yield press(state, "R")
        for key in ("enter", "w", "l", "t"):
            opened = press(state, key)
            yield opened
            if opened.subject:
                card = replace(failed_card(), subject=opened.subject)
                yield read(opened, card=card)
                yield read(opened, card=replace(card, gone=True))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("glyphs", [None, ASCII])
def test_every_screen_fits(width, height, glyphs):
    for state in screens(width, height):
        if glyphs:
            state = replace(state, glyphs=glyphs)  # noqa: PLW2901 - the same, plainer
        lines = view.draw(state)

        assert len(lines) == height
        assert max(line.cell_len for line in lines) <= width


@pytest.mark.parametrize("height", range(10, 34))
def test_the_overview_fits_whatever_there_is(height):
    bare = {k: v for k, v in overview().hub.items() if not k.endswith("memory")}
    many = tuple(Queue(f"q{n}", 1, n, 0) for n in range(9))
    for seen in (
        overview(),
        overview(hub=bare, failures=(), queues=()),
        overview(queues=many, failures=overview().failures * 9),
    ):
        assert len(view.draw(read(screen(80, height), seen=seen))) == height


def test_where_nothing_failed_that_is_said():
    assert "nothing failed" in shown(read(screen(), seen=overview(failures=())))


@pytest.mark.parametrize("size", [(39, 24), (80, 9), (1, 1), (10, 3)])
def test_a_terminal_that_is_too_small_is_told(size):
    lines = view.draw(screen(*size))

    assert len(lines) == size[1]
    assert "too small: "[: size[0]] in lines[0].plain


def titles(tab, width, *rows):
    """Return the headers of a list."""
    heads = (line.plain.split() for line in view.draw(read(on(tab, width), *rows)))
    return next(words for words in heads if words[:2] == ["task", "function"])


@pytest.mark.parametrize(
    ("tab", "also"), [("failed", ["error", "ended"]), ("tasks", ["engine", "for"])]
)
def test_rows_say_which_order_they_are_of_on_a_usual_terminal(tab, also):
    rows = [replace(one, fields={**one.fields, "label": ""}) for one in ROWS[tab]]
    rows[1] = replace(rows[1], fields={**rows[1].fields, "label": "order 4711"})

    labelled = titles(tab, 80, *rows)
    text = shown(read(on(tab), *rows))

    assert labelled[2] == "label"
    assert set(also) <= set(labelled)
    assert "order 4711" in text
    assert "mod:train" in text


@pytest.mark.parametrize("tab", ["failed", "tasks"])
def test_there_is_no_column_for_labels_that_nobody_gave(tab):
    rows = [replace(one, fields={**one.fields, "label": ""}) for one in ROWS[tab]]

    for width in (80, 200):
        assert "label" not in titles(tab, width, *rows)


@pytest.mark.parametrize("tab", ["failed", "tasks"])
def test_where_there_is_little_room_labels_give_way(tab):
    rows = [
        replace(one, fields={**one.fields, "label": "order 1"}) for one in ROWS[tab]
    ]

    assert "label" not in titles(tab, 45, *rows)


@pytest.mark.parametrize("tab", TABS)
def test_nothing_that_anybody_says_reaches_the_terminal_as_a_command(tab):
    evil: dict[str, list[Any]] = {
        "engines": [engine(0, worker=EVIL, function=EVIL, queues=(EVIL,))],
        "tasks": [task(1, function=EVIL, label=EVIL, queue=EVIL)],
        "failed": [task(1, function=EVIL, evalue=EVIL, ename=EVIL)],
        "events": [event(1, EVIL, task=EVIL, engine=EVIL, why=EVIL, more=EVIL)],
    }
    hub = overview(
        queues=(Queue(EVIL, 1, 1, NOW),), failures=(Failures(EVIL, EVIL, 1, "c-1"),)
    )
    state = press(screen(200, 50), str(TABS.index(tab) + 1))
    state = read(replace(state, hub=EVIL), *evil.get(tab, ()), seen=hub)
    opened = press(state, "enter")
    subject = opened.subject or Subject("task", EVIL)
    why = Why("c-1", "ready", (EVIL,), (EVIL,))
    fields = {EVIL: EVIL, "state": EVIL, "function": EVIL}
    card = Card(
        subject, fields=fields, lists={EVIL: (EVIL,)}, why=why, stdout=EVIL,
        stderr=EVIL, traceback=EVIL,
    )  # fmt: skip
    sides = [
        read(
            replace(opened, mode="detail", subject=replace(subject, view=one)),
            card=card,
        )
        for one in ("record", "why", "logs", "traceback")
    ]
    told = [model.tell(state, Notice(EVIL)), model.lose(state, EVIL, 1.0)]

    for one in (state, opened, press(state, "/", "x"), *sides, *told):
        for line in view.draw(one):
            assert line.plain.isprintable()
    assert "[bold red]" in "".join(shown(one) for one in (state, *sides))


def test_the_overview_says_how_the_hub_does():
    text = shown(on("overview"))

    for part in (
        "redtask night", "Redis 7.0.15", "2 engines", "answers in 1 ms",
        "120k", "p50 40 ms, p95 40 ms", "ready 1.5 min (abcdef-1)", "default", "none",
        "MemoryError", "42.9 MiB of 95.4 MiB", "[1 Overview]", "30 in 1 min",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize("width", range(40, 100, 5))
def test_no_count_of_a_state_is_cut(width):
    counts = dict.fromkeys(STATES, 98_765)

    words = shown(read(screen(width, 10), seen=overview(states=counts))).split()

    assert words.count("98,765") == len(STATES)
    assert words.index("aborted") > words.index("waiting")


@pytest.mark.parametrize("width", range(40, 100, 5))
def test_what_does_not_fit_the_overview_is_left_out_whole(width):
    hub = {**overview().hub, "used_memory": "98500000"}
    state = replace(screen(width, 30), hub="n")

    lines = shown(read(state, seen=overview(hub=hub))).splitlines()
    title, told = lines[0], {one[:11].rstrip(): one for one in lines if one}

    assert "2 engines" in title
    assert "answers" not in title or title.rstrip().endswith("1 ms")
    assert re.search(r"  10/s(, most 20/s)?$", told["ended"])
    assert re.search(r" 0.5/s(, 30 in 1 min)?$", told["failed"])
    assert re.search(r"  p50 40 ms(, p95 40 ms)?$", told["run time"])
    assert told["memory"].endswith(" 93.9 MiB of 95.4 MiB")
    assert re.search(r" ready 1.5 min( \(abcdef-1\))?$", told["oldest"])


def test_a_line_that_is_cut_says_so():
    long = replace(screen(40, 30), hub="h" * 60)
    alone = overview(hub={**overview().hub, "registered": "0"})

    assert shown(read(long)).splitlines()[0].endswith("h…  2 engines")
    assert "none lives: start…\n" in shown(read(long, seen=alone))


def test_a_hub_without_engines_says_how_to_start_some():
    hub = {**overview().hub, "registered": "0"}
    state = read(screen(), seen=overview(hub=hub))

    assert "start some with 'redtask worker'" in shown(state)
    assert "start some with" in shown(read(press(screen(), "2")))


def test_failures_say_when_only_the_latest_were_counted():
    kinds = (
        Failures("a:b", "ValueError", 30, "c-9"),
        Failures("c", "OSError", 20, "c-8"),
    )

    few = overview(states={"failed": 50}, failures=kinds)
    many = overview(states={"failed": 51}, failures=kinds)

    assert "last 50" not in shown(read(screen(), seen=few))
    assert "last 50  function" in shown(read(screen(), seen=many))


@pytest.mark.parametrize("width", range(40, 120, 7))
def test_keys_are_named_whole_or_not_at_all(width):
    words = {
        *("? help", "q quit", "PgDn more", "/ filter", "Enter detail", "D drain"),
        *("s state", "w why", "l logs", "t traceback", "A abort", "R replay"),
        *("left/right tabs", "space freeze"),
    }

    for tab in TABS:
        last = shown(on(tab, width)).splitlines()[-1].rstrip()
        assert len(last) <= width
        assert set(last.split("  ")) <= words


def test_eighty_columns_have_room_for_what_can_be_done_with_a_task():
    assert shown(on("tasks")).rstrip().endswith("A abort  R replay")
    assert shown(on("failed")).rstrip().endswith("t traceback  R replay")


def test_on_a_wide_screen_queues_and_failures_stand_side_by_side():
    wide, narrow = on("overview", 200, 50), on("overview", 80, 50)

    assert any("queue" in one and "error" in one for one in shown(wide).splitlines())
    assert not any(
        "queue" in one and "error" in one for one in shown(narrow).splitlines()
    )


def test_engines_say_in_words_how_they_are():
    text = shown(on("engines", 200))

    for part in (
        "busy",
        "idle",
        "silent",
        "leaving",
        "██",
        "░░",
        "mod:train",
        "node01",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("load", "told"), [(9_999, "9,999"), (12_345, "12.3k"), (99_999, "100k")]
)
def test_the_number_of_tasks_of_an_engine_is_not_cut(load, told):
    text = shown(read(press(screen(), "2"), engine(0, held=load)))

    assert f" {told} " in text


def test_a_bar_is_full_at_the_high_water_mark():
    hub = {**overview().hub, "hwm": "4"}
    state = read(press(screen(), "2"), engine(0, held=2), seen=overview(hub=hub))

    assert "████░░░░" in shown(state)


def test_failed_tasks_say_with_what():
    text = shown(on("failed"))

    assert "ValueError: no" in text
    assert "impossible: c-1 failed" in text
    assert "5.0 s ago" in text


@pytest.mark.parametrize(
    ("width", "told"), [(80, "ValueError: could not read row 17 of"), (40, "ValueErr")]
)
def test_errors_have_the_room_that_names_do_not_need(width, told):
    row = task(1, ename="ValueError", evalue="could not read row 17 of the table")

    text = shown(read(press(screen(width, 10), "4"), row))

    assert "mod:train" in text
    assert told in text


def test_at_forty_columns_a_name_is_shortened_rather_than_the_error_left_out():
    row = task(1, function="package.module:function", ename="ValueError", evalue="x")

    text = shown(read(press(screen(40, 10), "4"), row))

    assert "package.modu…" in text
    assert "ValueError:" in text


def test_tasks_of_each_state_have_their_columns():
    state = press(screen(200, 24), "3")
    titles = {}
    for _ in range(6):
        row = task(1, gate="g-1", start=str(NOW + 9000), reason="by hand", repr="42")
        titles[state.tasks] = shown(read(state, row))
        state = press(state, "s")

    assert "for " in titles["running"]
    assert "waits for" in titles["waiting"]
    assert "a gate" in titles["waiting"]
    assert "result" in titles["completed"]
    assert "42" in titles["completed"]
    assert "by hand" in titles["aborted"]


def test_a_running_task_says_how_far_it_is():
    state = press(screen(120, 24), "3")

    text = shown(read(state, task(1, progress="0.4 reading"), task(2, progress="odd")))

    assert "40% reading" in text


def test_a_hub_without_queues_says_so():
    assert "no queue is in use" in shown(read(screen(), seen=overview(queues=())))


@pytest.mark.parametrize(
    ("count", "height", "told"),
    [
        (30, 24, r"queue, \d of 30 "),
        (30, 99, r"queue  "),
        (50, 24, r"queue, \d of 50\+ "),
        (50, 99, r"queue, 50 of 50\+ "),
    ],
)
def test_it_says_when_there_are_more_queues(count, height, told):
    queues = tuple(Queue(f"q{number}", 1, 5, NOW) for number in range(count))

    assert re.search(
        told, shown(read(screen(80, height), seen=overview(queues=queues)))
    )


def test_a_paused_queue_says_so():
    state = read(screen(), seen=overview(queues=(Queue("night", 2, 5, NOW, True),)))

    assert "paused" in shown(state)


def test_what_a_waiting_task_waits_for_is_said():
    state = press(screen(200, 24), "3", "s", "s", "s")

    text = shown(
        read(state, task(1, start=str(NOW + 9000)), task(2), task(3, gate="x"))
    )

    assert "in 9.0 s" in text
    assert "other tasks" in text
    assert "a gate" in text


def test_a_gate_is_named():
    state = press(screen(), "3", "s", "s", "s")

    assert "(gate)" in shown(read(state, task(1, function="", gate="abcdefgh-1")))


def test_an_empty_list_says_what_there_is_not():
    assert "No task is failed." in shown(read(press(screen(), "4")))
    assert "No event is known." in shown(read(press(screen(), "5")))
    found = read(press(screen(), "4", "/", "x", "enter"))
    assert "No task is failed that has 'x': Esc shows all." in shown(found)
    assert "/x" in shown(found)


@pytest.mark.parametrize("width", [40, 80])
def test_where_not_all_was_searched_that_is_said_and_how_to_read_on(width):
    state = press(screen(width, 24), "4", "/", "x", "enter")

    some = read(state, more="60 0", searched=60)
    unknown = read(state, more="3 7")
    last = read(press(some, "pagedown"))

    body, rest, end = (" ".join(shown(one).split()) for one in (some, unknown, last))
    assert "None of the 60 read has 'x': PgDn reads on, Esc shows all." in body
    assert "None of those read has 'x': PgDn reads on, Esc shows all." in rest
    assert "No further task is failed that has 'x': Esc shows all." in end


def test_a_record_is_shown_with_times_for_people():
    card = failed_card(
        submitted=str(NOW - 5000), took="2500", start="odd", started=str(NOW + 60_000)
    )
    text = shown(read(press(on("failed"), "enter"), card=card))

    assert "task abcdefgh-1  mod:train  failed" in text
    assert "2027-01-15 08:00:00 UTC, 5.0 s ago"[11:] in text or "5.0 s ago" in text
    assert "2 ms" in text
    assert "in 1 min" in text
    assert "failed tries" in text


def test_logs_and_tracebacks_are_shown_line_by_line():
    state = on("failed")

    logs = shown(read(press(state, "l"), card=failed_card()))
    traceback = shown(read(press(state, "t"), card=failed_card()))
    none = replace(failed_card(), stdout="", traceback="")

    assert "output\nfirst\nsecond" in logs
    assert "Traceback (most recent call last):\n  File x\nValueError: no" in traceback
    assert "printed nothing" in shown(read(press(state, "l"), card=none))
    assert "raised nothing" in shown(read(press(state, "t"), card=none))
    errors = replace(none, stderr="oh")
    assert "errors\noh" in shown(read(press(state, "l"), card=errors))


def test_what_a_task_prints_is_shown_while_it_runs():
    running = replace(failed_card(), fields={"state": "running"}, stdout="")
    state = read(press(on("tasks"), "l"), card=running)

    text = shown(model.hear(state, "abcdefgh-1", "so\x1b[2J\nfar"))

    assert "output so far\nso·[2J\nfar" in text


def test_long_lines_are_wrapped_in_details():
    card = replace(failed_card(), stdout="word " * 40)

    lines = shown(read(press(on("failed"), "l"), card=card)).splitlines()

    assert sum("word" in one for one in lines) > 2


def test_wide_characters_are_wrapped_and_not_lost():
    card = replace(failed_card(), stdout="日本語" * 40)

    lines = shown(read(press(on("failed"), "l"), card=card)).splitlines()

    assert "".join(lines).replace(" ", "").count("日本語") == 40


def test_a_long_detail_says_where_it_stands():
    card = failed_card(**{f"f{n}": "x" for n in range(60)})
    state = read(press(on("failed"), "enter"), card=card)

    assert "(lines 1-19 of 66)" in shown(state)
    assert "(lines 48-66 of 66)" in shown(press(state, "end"))


def test_a_task_that_is_gone_is_said_to_be():
    card = Card(Subject("task", "abcdefgh-1"), gone=True)

    assert "abcdefgh-1 is no more." in shown(
        read(press(on("failed"), "enter"), card=card)
    )


def test_why_is_told_in_sentences():
    why = Why("abcdefgh-1", "failed", ("it raised ValueError: no",))
    card = replace(failed_card(), why=why)

    text = shown(read(press(on("failed"), "w"), card=card))

    assert "abcdefgh-1 is failed: it raised ValueError: no." in text


def test_a_redis_that_is_away_is_said_to_be_and_since_when():
    state = model.lose(on("engines"), "Connection refused", 112.0)

    assert "Redis is away: last seen 12 s ago" in shown(state)
    assert "Connection refused" in shown(state)
    assert "node01" in shown(model.resize(state, Size(200, 24)))
    assert "Redis is away" in shown(model.lose(screen(), "x", 1.0))


def test_a_redis_that_does_not_answer_is_said_to_be_silent():
    state = on("engines")

    assert "answers in" in shown(replace(state, now=104.9))
    assert "no answer: last seen 5.1 s ago" in shown(replace(state, now=105.1))
    assert "no answer" not in shown(replace(state, now=112.0, frozen=True))


def test_a_redis_whose_answers_take_long_is_given_time():
    state = on("engines")
    assert state.seen
    slow = replace(state, seen=replace(state.seen, took=3.0))

    assert "answers in" in shown(replace(slow, now=109.9))
    assert "no answer" in shown(replace(slow, now=110.1))


def test_an_engine_that_gets_nothing_new_is_draining_until_it_has_nothing():
    rows = [engine(3, state="drained"), engine(4, state="drained", held=0)]

    text = shown(read(on("engines"), *rows))

    assert re.findall(r"drain\w+", text) == ["draining", "drained"]


def test_what_is_to_be_confirmed_names_the_task():
    state = press(on("failed"), "R")

    assert "replay abcdefgh-1 (mod:train, failed)? y/n" in shown(state)


@pytest.mark.parametrize("name", ["f" * 90, "日本語" * 30])
def test_a_long_name_hides_neither_the_question_nor_the_state(name):
    card = failed_card(function=name)
    state = read(press(on("failed"), "w"), card=card)

    assert "…  failed  why\n" in shown(state)
    assert "…)? y/n" in shown(press(state, "R"))


def test_what_is_typed_is_seen():
    assert "\n/abc_" in shown(press(on("tasks"), "/", "a", "b", "c"))


def test_a_frozen_screen_says_so():
    assert "[frozen]" in shown(press(on("tasks"), "space"))


def test_a_narrow_screen_says_which_tab_it_is():
    tabs = shown(press(screen(40, 10), "5")).splitlines()[1]

    assert tabs.split() == ["1", "2", "3", "4", "[5", "Events]"]


def test_the_same_engine_has_the_same_name_in_all_events():
    gone = event(2, "engine gone", engine="k2abcdefgh", id="0", why="killed")
    lost = event(1, task="abcdefgh-1", engine="k2abcdefgh", why="killed")
    other = event(0, "retry", task="abcdefgh-1", engine="x7abcdefgh", why="try 1")

    text = shown(read(press(screen(), "5"), gone, lost, other)).splitlines()

    assert [line.split()[-2] for line in text[4:6]] == ["0", "0"]
    assert "x7abcdef" in text[6]


@pytest.mark.parametrize("width", [40, 80])
def test_events_are_named_whole_and_say_why(width):
    rows = event(1, "engine draining", id="3"), event(0, engine="e", why="killed")

    text = shown(read(press(screen(width, 10), "5"), *rows))

    assert "engine draining" in text
    assert "killed" in text


def test_pages_are_counted():
    assert "page 2" in shown(press(on("failed"), "pagedown"))
    assert "page" not in shown(on("failed")).replace("PgDn", "")


def test_all_of_the_help_can_be_read_on_a_small_terminal():
    first = press(screen(40, 10), "?")
    last = press(first, "end")

    assert "Keys  (lines 1-5 of 29)" in shown(first)
    assert "any other key: back" in shown(first)
    assert "it get tasks again" in shown(last)
    assert "this help; quit" in shown(last)
    assert "lines" not in shown(press(screen(80, 24), "?"))


def test_the_help_names_every_key():
    text = shown(press(on("failed"), "?"))

    for key in (
        "Tab",
        "j k",
        "PgDn",
        "/",
        "Enter",
        "w",
        "l",
        "t",
        "space",
        "A",
        "R",
        "q",
    ):
        assert f"{key} " in text

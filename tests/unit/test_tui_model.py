"""Keys and news make states."""

from dataclasses import replace

import pytest

from redtask.tui import model
from redtask.tui.state import TABS, Action, Notice, Size, Subject, Wish
from tests.shown import engine, event, failed_card, overview, press, read, screen, task


def on(tab, *items, **options):
    """Return the screen on a tab, with these rows."""
    return read(press(screen(), str(TABS.index(tab) + 1)), *items, **options)


# -- tabs


def test_tabs_are_turned_by_arrows_tab_and_numbers():
    state = screen()

    assert press(state, "right").tab == press(state, "tab").tab == "engines"
    assert press(state, "left").tab == press(state, "backtab").tab == "events"
    assert [press(state, key).tab for key in "12345"] == list(TABS)


def test_a_tab_wishes_for_its_page():
    state = screen()

    assert state.wish == Wish()
    assert press(state, "2").wish == Wish("engines", "", "", 19)
    assert press(state, "3").wish == Wish("tasks", "running", "", 19)
    assert press(state, "4").wish == Wish("failed", "failed", "", 19)
    assert press(state, "5").wish == Wish("events", "", "", 19)


def test_a_larger_terminal_wishes_for_more():
    state = model.resize(press(screen(), "2"), Size(200, 50))

    assert state.wish.count == 45
    assert model.resize(state, Size(400, 900)).wish.count == 200


def test_the_tab_of_tasks_shows_one_state_after_the_other():
    state = on("tasks", task(1), task(2))
    seen = [press(state, *["s"] * times).tasks for times in range(7)]

    assert seen == [
        "running", "assigned", "ready", "waiting", "completed", "aborted", "running",
    ]  # fmt: skip
    assert press(state, "s").rows is None
    assert press(state, "s").wish.state == "assigned"


def test_rows_of_another_tab_are_not_shown():
    state = on("engines", engine(0))

    assert press(state, "3").rows is None
    assert press(state, "3", "2").rows == state.rows


# -- rows and pages


def test_rows_are_chosen_by_keys_and_end_at_the_ends():
    state = on("engines", *map(engine, range(3)))

    rows = [press(state, *keys).item.engine_id for keys in (
        "", "j", ["down"], "jjjj", "jk", ["k"], ["end"], ["end", "home"],
    )]  # fmt: skip

    assert rows == [0, 1, 1, 2, 0, 0, 2, 0]


def test_what_is_chosen_stays_chosen_when_rows_move():
    state = press(on("failed", task(5), task(4), task(3)), "j")

    state = read(state, task(7), task(6), task(5), task(4))

    assert state.item.task_id == "abcdefgh-4"


def test_what_is_chosen_is_the_next_when_it_is_gone():
    state = press(on("engines", *map(engine, range(3))), "j", "j")

    state = read(state, engine(0))

    assert state.item.engine_id == 0
    assert read(state).item is None


def test_pages_are_turned_forth_and_back():
    state = on("failed", task(1), more="18 0")

    second = press(state, "pagedown")
    assert second.wish.start == "18 0"
    third = press(read(second, task(2), more="36 0"), "]")
    assert third.wish.start == "36 0"
    assert press(third, "pageup", "[").wish.start == ""


def test_at_the_last_page_the_key_goes_to_the_last_row():
    state = on("failed", task(1), task(2))

    assert press(state, "pagedown").item.task_id == "abcdefgh-2"
    assert press(state, "pagedown", "pageup").item.task_id == "abcdefgh-1"


def test_a_filter_is_typed_and_taken_away_again():
    state = on("tasks", task(1), more="1 0")

    typing = press(press(state, "pagedown"), "/", "a", "b", "space", "x", "backspace")
    assert (typing.mode, typing.typed) == ("filter", "ab ")
    found = press(typing, "enter")
    assert (found.wish.text, found.wish.start, found.mode) == ("ab", "", "browse")
    assert press(found, "/").typed == "ab"
    assert press(found, "escape").wish.text == ""


def test_letters_are_letters_while_a_filter_is_typed():
    typing = press(on("tasks", task(1)), "/", "q", "A", "?", "1", "up")

    assert typing.typed == "qA?1"
    assert press(typing, "clear").typed == ""
    assert press(typing, "escape").place.text == ""
    assert len(press(typing, *"x" * 99).typed) == 60


def test_the_overview_has_no_rows():
    state = read(screen())

    assert press(state, "j", "/", "enter", "A", "s", "pagedown") == state


# -- details


@pytest.mark.parametrize(
    ("key", "view"),
    [("enter", "record"), ("w", "why"), ("l", "logs"), ("t", "traceback")],
)
def test_a_task_is_shown_from_four_sides(key, view):
    state = press(on("failed", task(1)), key)

    assert state.mode == "detail"
    assert state.wish.subject == Subject("task", "abcdefgh-1", view)


def test_the_list_is_as_it_was_behind_a_detail():
    state = press(on("failed", task(1), task(2)), "j", "enter")
    state = read(state, card=failed_card("abcdefgh-2"))

    back = press(state, "escape")

    assert (back.mode, back.item.task_id) == ("browse", "abcdefgh-2")
    assert back.wish.subject is None


def test_sides_are_changed_in_the_detail():
    state = press(on("failed", task(1)), "enter")

    assert press(state, "t").subject.view == "traceback"
    assert press(state, "t", "l").subject.view == "logs"
    assert press(state, "t", "t").subject.view == "record"
    for key in ("escape", "q", "backspace", "enter"):
        assert press(state, key).subject is None
        assert not press(state, key).over


def test_of_an_engine_the_task_that_it_runs_is_meant():
    state = on("engines", engine(0), engine(1, task_id="", held=0))

    assert press(state, "enter").subject == Subject("engine", "uuid0")
    assert press(state, "l").subject == Subject("task", "abcdefgh-0", "logs")
    idle = press(state, "j", "w")
    assert idle.subject is None
    assert "no task here" in idle.notice.text


def test_of_an_event_its_task_is_meant():
    state = on("events", event(1, task="abcdefgh-9"), event(2))

    assert press(state, "w").subject == Subject("task", "abcdefgh-9", "why")
    assert press(state, "enter").subject.kind == "event"
    assert press(press(state, "enter"), "w").subject.kind == "event"
    assert press(state, "j", "w").subject is None


def test_a_detail_is_scrolled_within_its_lines():
    card = failed_card(**{f"f{n}": "x" for n in range(60)})
    state = read(press(on("failed", task(1)), "enter"), card=card)

    assert press(state, "j").top == 1
    assert press(state, "k").top == 0
    last = press(state, "end").top
    assert 0 < last < 70
    assert press(state, "end", "j").top == last
    assert press(state, "pagedown").top == 19
    assert press(state, "end", "home").top == 0


def test_a_tab_is_turned_from_a_detail():
    state = press(on("failed", task(1)), "enter", "right")

    assert (state.tab, state.subject, state.mode) == ("events", None, "browse")


def test_a_running_task_is_listened_to_while_its_logs_are_seen():
    state = press(on("tasks", task(1)), "l")
    running = replace(failed_card(), fields={"state": "running"}, stdout="")

    assert state.listens == ""
    assert read(state, card=running).listens == "abcdefgh-1"
    assert read(state, card=failed_card()).listens == ""
    assert read(press(state, "w"), card=running).listens == ""
    assert press(read(state, card=running), "escape").listens == ""


def test_what_a_task_prints_is_followed_from_its_end():
    running = replace(failed_card(), fields={"state": "running"}, stdout="")
    state = read(press(on("tasks", task(1)), "l"), card=running)

    for number in range(50):
        state = model.hear(state, "abcdefgh-1", f"line {number}\n")
    assert state.top == 51 - 19
    back = press(state, "home")
    assert model.hear(back, "abcdefgh-1", "more").top == 0
    assert model.hear(back, "abcdefgh-2", "more") == back
    assert press(state, "escape").said == ""
    assert len(model.hear(state, "abcdefgh-1", "x" * 99999).said) == 65536


# -- actions


def test_an_action_is_done_when_it_is_confirmed_once():
    state = press(on("failed", task(1)), "R")

    assert state.asked == Action("replay", "abcdefgh-1", "mod:train, failed")
    assert state.doing is None
    done = press(state, "y")
    assert done.doing == Action("replay", "abcdefgh-1", "mod:train, failed")
    assert (done.asked, done.mode) == (None, "browse")


@pytest.mark.parametrize("key", ["n", "escape", "enter", "R", "space"])
def test_any_other_key_than_yes_is_no(key):
    state = press(on("failed", task(1)), "R", key)

    assert (state.doing, state.asked, state.mode) == (None, None, "browse")
    assert state.notice.text == "nothing was done"


def test_the_task_that_was_asked_about_is_meant_though_rows_move():
    state = read(press(on("failed", task(1)), "R"), task(9))

    assert press(state, "y").doing.name == "abcdefgh-1"


def test_only_what_is_open_is_aborted_and_only_what_ended_runs_again():
    running, failed = on("tasks", task(1)), on("failed", task(1))

    assert press(running, "A").asked.verb == "abort"
    assert "has not ended" in press(running, "R").notice.text
    assert "has ended" in press(failed, "A").notice.text
    assert press(failed, "A").asked is None


def test_actions_are_there_in_details_too():
    state = press(on("failed", task(1)), "enter")

    assert press(state, "R").asked is None
    asked = press(read(state, card=failed_card()), "R")
    assert asked.asked.verb == "replay"
    assert press(asked, "y").mode == "detail"


def test_an_engine_is_drained_and_a_drained_one_is_given_tasks_again():
    state = on("engines", engine(0), engine(1, state="drained"))

    assert press(state, "D").asked == Action("drain", "uuid0", "engine 0 of node01")
    assert press(state, "j", "D").asked.verb == "resume"
    assert press(state, "D", "y").doing.verb == "drain"
    assert press(on("failed", task(1)), "D").asked is None


def test_other_actions_are_of_tasks_only():
    for state in (on("engines", engine(0)), on("events", event(0)), on("tasks")):
        assert press(state, "A").asked is None
        assert press(state, "R").asked is None


# -- the rest


def test_help_is_left_by_any_key():
    state = press(on("failed", task(1)), "?")

    assert state.mode == "help"
    assert press(state, "x").mode == "browse"
    assert press(on("failed", task(1)), "enter", "?", "x").mode == "detail"
    left = press(state, "q")
    assert (left.mode, left.over) == ("browse", False)


def test_help_is_scrolled_where_it_does_not_fit():
    state = press(screen(40, 10), "?")
    behind = press(state, "pagedown", "j")
    last = press(state, "end")

    assert (state.mode, behind.mode, last.mode) == ("help", "help", "help")
    assert (state.help_top, behind.help_top) == (0, 6)
    assert press(last, "j") == last
    assert press(last, "home").help_top == press(behind, "pageup", "k").help_top == 0
    assert press(last, "x", "?").help_top == 0
    assert press(screen(120, 30), "?", "j").help_top == 0


def test_help_leaves_a_detail_where_it_was_scrolled_to():
    state = replace(press(on("failed", task(1)), "enter"), top=7)

    assert press(state, "?", "j", "x").top == 7


def test_freezing_is_taken_back_by_the_same_key():
    assert press(screen(), "space").frozen
    assert not press(screen(), "space", "space").frozen


def test_quitting():
    assert press(screen(), "q").over


def test_a_notice_stays_until_a_key():
    state = model.tell(screen(), Notice("done"))

    assert read(state).notice == Notice("done")
    assert press(state, "2").notice is None


def test_what_is_lost_is_said_until_it_is_back():
    state = model.lose(read(screen()), "refused", 112.0)

    assert (state.problem, state.seen_at, state.now) == ("refused", 100.0, 112.0)
    assert read(state).problem == ""


def test_news_of_a_tab_that_was_left_are_not_its_rows():
    asked = press(screen(), "2")
    late = read(asked, engine(0)).seen

    state = model.receive(press(asked, "4"), late, 1.0)

    assert state.rows is None
    assert state.seen is not None
    assert state.seen.overview == overview()

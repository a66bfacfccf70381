"""The loop: keys, signals and news in, wishes and lines out."""

import signal
from typing import Any

import pytest

from redtask.tui.app import _App
from redtask.tui.ear import Said
from redtask.tui.state import Action, Notice, Rows, Size, Wish
from redtask.tui.worker import Lost
from tests.shown import failed_card, overview, read, screen, task

QUIT: tuple[list[str], list[int]] = (["q"], [])


class Stage:
    """A terminal, a worker and an ear that do what the test says.

    ``script``: for each time that somebody hears: keys and signals, and news before.
    """

    def __init__(self, *script):
        self.script = list(script)
        self.size = Size(80, 24)
        self.screens = []
        self.anew = []
        self.patience = []
        self.taken = []
        self.wishes = []
        self.acts = []
        self.ears = []
        self._news = []

    def run(self, interval=2.0):
        parts: Any = self
        return _App(parts, parts, parts, screen(), interval).run()

    # The terminal

    def hear(self, seconds):
        self.patience.append(seconds)
        step = self.script.pop(0)
        step = step(self) if callable(step) else step
        keys, signals, *news = step
        self._news += news
        return list(keys), set(signals)

    def show(self, lines, *, anew=False):
        self.screens.append("\n".join(line.plain for line in lines))
        self.anew.append(anew)

    def take(self):
        self.taken.append("taken")

    def stop(self):
        self.taken.append("stopped")

    # The worker

    def wish(self, wish):
        self.wishes.append(wish)

    def act(self, action):
        self.acts.append(action)

    def news(self):
        found, self._news = self._news, []
        return found

    # The ear

    def listen(self, task):
        self.ears.append(task)


def seen(wish, *items, card=None):
    """Return what is read for a wish."""
    state = screen()
    found = read(state, seen=overview()).seen
    rows = Rows(items) if wish.subject is None and wish.tab != "overview" else None
    return type(found)(wish, found.overview, rows, card, 0.001, found.server)


def answer(stage):
    """Answer what was wished for last."""
    return [], [], seen(stage.wishes[-1], task(1), card=failed_card())


def test_it_looks_at_once_and_shows_something_before_the_answer():
    stage = Stage(QUIT)

    assert stage.run() == 0
    assert stage.wishes == [Wish()]
    assert "reading ..." in stage.screens[0]


def test_it_looks_again_after_the_interval():
    stage = Stage(answer, ([], []), answer, ([], []), QUIT)

    stage.run(interval=0.0)

    assert len(stage.wishes) > 2
    assert set(stage.wishes) == {Wish()}


def test_it_waits_as_long_as_nothing_is_to_be_done():
    stage = Stage(answer, QUIT)

    stage.run(interval=60.0)

    assert 59 < stage.patience[1] <= 60
    assert stage.wishes == [Wish()]


def test_a_key_that_shows_something_else_has_it_read_at_once():
    stage = Stage(answer, (["4"], []), answer, (["j"], []), QUIT)

    stage.run(interval=60.0)

    assert stage.wishes == [Wish(), Wish("failed", "failed", count=19)]
    assert "abcdef-1" in stage.screens[-1]


def test_a_frozen_screen_reads_only_what_is_asked_for():
    stage = Stage(
        answer, (["space"], []), answer, ([], []), ([], []), (["4"], []), answer,
        ([], []), ([], []), (["space"], []), QUIT,
    )  # fmt: skip

    stage.run(interval=0.0)

    frozen = [at for at, text in enumerate(stage.screens) if "[frozen]" in text]
    assert len(frozen) > 6
    tabs = [wish.tab for wish in stage.wishes]
    assert tabs == ["overview", "overview", "failed", "failed"]


def test_what_was_confirmed_is_done_and_then_seen():
    stage = Stage(
        answer, (["4"], []), answer, (["R", "y"], []), ([], [], Notice("it runs")), QUIT
    )

    stage.run(interval=60.0)

    assert stage.acts == [Action("replay", "abcdefgh-1", "mod:train, failed")]
    assert [wish.tab for wish in stage.wishes] == ["overview", "failed", "failed"]
    assert "it runs" in stage.screens[-1]


def test_what_is_lost_is_said_and_looked_for_again():
    stage = Stage(([], [], Lost("refused")), ([], []), QUIT)

    stage.run(interval=0.0)

    assert "Redis is away" in stage.screens[-1]
    assert "refused" in stage.screens[-1]
    assert len(stage.wishes) > 1


def test_a_late_answer_to_another_wish_does_not_stop_the_looking():
    stage = Stage(([], [], seen(Wish("events"))), ([], []), QUIT)

    stage.run(interval=0.0)

    assert stage.wishes == [Wish()]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_signals_end_it(number, code):
    assert Stage(([], [number])).run() == code


def test_another_size_has_more_read_and_all_drawn_anew():
    def grow(stage):
        stage.size = Size(200, 50)
        return [], [signal.SIGWINCH]

    stage = Stage(answer, (["4"], []), answer, grow, QUIT)
    stage.run(interval=60.0)

    assert [wish.count for wish in stage.wishes] == [1, 19, 45]
    assert stage.anew[-1]
    assert len(stage.screens[-1].splitlines()) == 50


def test_it_is_stopped_and_goes_on():
    stage = Stage(([], [signal.SIGTSTP]), ([], [signal.SIGCONT]), QUIT)

    stage.run()

    assert stage.taken == ["stopped", "taken"]
    assert stage.anew == [True, True, True]


def test_all_is_drawn_anew_by_a_key():
    stage = Stage((["redraw"], []), ([], []), QUIT)

    stage.run()

    assert stage.anew == [True, True, False]


def test_a_task_that_runs_is_heard_while_its_logs_are_seen():
    def running(stage):
        card = failed_card(state="running")
        card = type(card)(stage.wishes[-1].subject, fields=card.fields)
        return [], [], seen(stage.wishes[-1], card=card)

    stage = Stage(
        answer, (["3"], []), answer, (["l"], []), running,
        ([], [], Said("abcdefgh-1", "hello")), (["escape"], []),
        ([], [], Said("abcdefgh-1", "too late")),
        ([], [], Said("x-1", "no", deaf=True)), QUIT,
    )  # fmt: skip
    stage.run(interval=60.0)

    assert "abcdefgh-1" in stage.ears
    assert stage.ears[-1] == ""
    assert any("hello" in text for text in stage.screens)
    assert not any("too late" in text for text in stage.screens)
    assert "nothing is heard: no" in stage.screens[-1]

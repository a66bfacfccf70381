"""Commands as processes: how they start, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from redtask.cli import COMMANDS
from tests.processes import DEADLINE, until

pytestmark = pytest.mark.acceptance

#: Commands that are nothing without Redis, or a worker.
HEAVY = {"worker", "cluster", "doctor", "configure"}


def start(*words, stdin=subprocess.PIPE):
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "redtask", *words],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def ended():
    """Return what starts commands which must all have ended."""
    started = []

    def starting(*words, **options):
        started.append(start(*words, **options))
        return started[-1]

    yield starting
    for process in started:
        process.kill()
        process.communicate()


def test_help_of_a_command_needs_no_redis():
    names = sorted(set(COMMANDS) - HEAVY)
    program = (
        "import sys\nfrom importlib import import_module\n"
        f"for name in {names}:\n"
        "    import_module(f'redtask.cli.{name}')\n"
        "    found = {'redis', 'rich', 'asyncio'} & set(sys.modules)\n"
        "    assert not found, (name, found)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["submit", "m:f", "é界", "--dry-run"], "m:f('é?')\n"),
        (["ls", "--state", "é界", "--json"], "\\u00e9\\u754c"),
    ],
)
def test_what_the_terminal_does_not_have_is_replaced(words, told):
    done = subprocess.run(
        [sys.executable, "-m", "redtask", *words],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        check=False,
    )

    assert told in done.stdout.decode("latin-1")
    assert done.stderr == b""


def test_an_interrupted_submit_says_what_it_did_and_goes_on(site, ended):
    process = ended("submit", "tests.tasks:double", "-", "--strings")
    for number in range(700):
        print(number, file=process.stdin)
    process.stdin.flush()
    ids = [process.stdout.readline().strip() for _ in range(500)]

    # It waits for the next line now.
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)

    name = ids[0].partition("-")[0]
    assert process.returncode == 130
    assert out == ""
    assert "interrupted: 500 tasks are submitted, lines 1 to 500; go on with " in err
    words = err.rpartition("go on with ")[2].split()
    again = ended("submit", "tests.tasks:double", "-", "--strings", *words)
    out, err = again.communicate(
        "".join(f"{number}\n" for number in range(700)), timeout=DEADLINE
    )
    assert again.returncode == 0, err
    assert out.split() == [f"{name}-{number}" for number in range(500, 700)]
    assert len(site.client.hub_history()) == 700


def test_events_are_followed_also_while_redis_is_away(own_server, home, ended):
    import redtask  # noqa: PLC0415 - with the server of this test

    with redtask.Client() as client:
        process = ended("events", "-f", "--json")
        view = client.load_balanced_view()
        view.apply_async("math:sqrt", 4)
        # Somebody listens when the process is blocked at the server.
        listens = client._store
        until(
            lambda: b"cmd=xread" in listens.command("CLIENT", "LIST"),
            "who follows the story",
        )

        own_server.restart()
        away = process.stderr.readline()
        back = process.stderr.readline()
        client._store.command(
            *("XADD", client._session.keys.story(), "*"),
            *("at", "1000", "event", "lost", "task", "a-1"),
        )
        told = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)

    assert "waiting for it" in away
    assert back == "redtask: Redis is back\n"
    assert (told["event"], told["id"]) == ("lost", "a-1")
    assert process.returncode == 130


def test_a_reader_that_goes_away_is_no_trouble(site, ended):
    site.view.map_async("math:sqrt", range(2000))

    process = ended("ls", "--limit", "2000", "--json", stdin=subprocess.DEVNULL)
    process.stdout.readline()
    process.stdout.close()

    assert process.wait(DEADLINE) in {0, 1}
    assert "Traceback" not in process.stderr.read()

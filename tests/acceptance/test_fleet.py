"""Operators and their engines: drain, resume, stop, restart, stack, pause."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from redtask import Client, aio, error
from redtask.cli import group
from tests import tasks
from tests.processes import DEADLINE, until

pytestmark = pytest.mark.acceptance

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "warm.lua"


def redtask(*words, stdin=None):
    """Run a command; return exit code, what it printed, and what it complained of."""
    done = CliRunner().invoke(group, list(words), input=stdin)
    return done.exit_code, done.stdout, done.stderr


def lines(*words, stdin=None):
    """Run a command that must succeed; return its JSON objects."""
    code, out, err = redtask(*words, "--json", stdin=stdin)
    assert code == 0, (out, err)
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def test_draining_is_waited_for(site, gate):
    site.worker("-n", "1")
    running = site.view.apply_async(tasks.pass_gate, str(gate), 1)
    until(lambda: any(one.task for one in site.client.stacks()))
    ended = []

    def drain():
        lines("engine", "drain", "--all", "--wait")
        ended.append(running.ready())

    waiting = threading.Thread(target=drain)
    waiting.start()
    until(lambda: site.story("engine draining"))
    gate.touch()
    waiting.join(DEADLINE)

    assert ended == [True]


def test_an_operator_has_engines_drain_and_go_on(site, gate):
    site.worker("-n", "2", "--name", "w")
    client, view = site.client, site.view
    running = view.apply_async(tasks.pass_gate, str(gate), 1)
    until(lambda: any(one.task for one in client.stacks()))
    engines = lines("engine", "ls")
    assert all(one["engine_uuid"].isalnum() for one in engines)
    busy = next(one for one in engines if one["state"] == "busy")

    # Drained: what it runs goes on, and it gets nothing new.
    (drained,) = lines("engine", "drain", str(busy["engine_id"]))
    assert drained == {
        "engine_id": busy["engine_id"],
        "engine_uuid": busy["engine_uuid"],
        "outcome": "drained",
    }
    later = view.map_async(tasks.double, range(10))
    later.get(DEADLINE)
    assert busy["engine_id"] not in {about["engine_id"] for about in later.metadata}
    states = {one["engine_id"]: one["state"] for one in lines("engine", "ls")}
    assert states[busy["engine_id"]] == "draining"

    # What has it, and where is it?
    (shown,) = lines("engine", "show", str(busy["engine_id"]))
    assert [one["id"] for one in shown["tasks"]] == running.msg_ids
    (answer,) = lines("engine", "stack", busy["engine_uuid"][:8])
    assert (answer["task"]["id"], answer["engine_id"]) == (
        running.msg_ids[0],
        busy["engine_id"],
    )
    assert "pass_gate" in answer["stack"]
    code, out, _ = redtask("engine", "stack", str(busy["engine_id"]))
    assert code == 0
    assert "pass_gate" in out
    assert "redtask/engine" not in out
    assert any("pass_gate" in one.stack for one in client.stacks(busy["engine_id"]))

    # A restart waits for it, and who comes after it is drained, too.
    lines("engine", "restart", "-", stdin=f"{busy['engine_uuid']}\n")
    gate.touch()
    assert running.get(DEADLINE) == 1
    until(lambda: busy["engine_id"] not in client.ids and len(client.ids) == 2)
    successor = max(client.ids)
    (shown,) = lines("engine", "show", str(successor))
    assert (shown["state"], shown["worker"], shown["tasks"]) == ("drained", "w", [])
    assert {one["outcome"] for one in lines("engine", "resume", "--worker", "w")} == {
        "resumed"
    }

    # Stopped: nobody takes its place, until the worker starts all anew.
    lines("engine", "stop", str(successor))
    until(lambda: len(client.ids) == 1)
    lines("engine", "restart", "--worker", "w")
    until(lambda: len(client.ids) == 2 and min(client.ids) > successor)
    assert view.apply_sync(tasks.double, 4) == 8

    # Nobody is called so.
    for words in (
        ("engine", "drain", "99"),
        ("engine", "stop", "--worker", "nobody"),
        ("engine", "restart", "--worker", "nobody"),
    ):
        code, out, err = redtask(*words, "--json")
        assert (code, err) == (3, ""), (words, out)
        assert set(json.loads(out)) == {"error", "kind"}
    assert redtask("engine", "drain")[0] == 2
    code, _, err = redtask("engine", "stop", "--all")
    assert code == 2
    assert "pass --yes" in err


@pytest.mark.parametrize("way", ["stop", "restart", "signal"])
def test_an_engine_that_is_to_end_is_seen_to_drain(site, gate, way):
    worker = site.worker("-n", "1", "--name", "w")
    running = site.view.apply_async(tasks.pass_gate, str(gate), 1)
    until(lambda: any(one.task for one in site.client.stacks()))

    if way == "signal":
        worker.signal(signal.SIGTERM)
    else:
        lines("engine", way, "0")

    until(lambda: [one["state"] for one in lines("engine", "ls")] == ["draining"])
    (status,) = lines("status", "--once")
    assert [one["state"] for one in status["engines"]] == ["draining"]
    why = site.client.why(running.msg_ids[0])
    assert why.reasons == ("engine 0 runs it, and then gets nothing new",)
    late = site.view.with_flags(targets=0).apply_async(tasks.double, 1)
    assert "may take it is drained" in str(site.client.why(late.msg_ids[0]))
    gate.touch()
    assert running.get(DEADLINE) == 1
    until(lambda: 0 not in site.client.ids)
    if way == "stop":
        lines("engine", "restart", "--worker", "w")
    if way != "signal":
        # Its successor is not drained.
        until(lambda: [one["state"] for one in lines("engine", "ls")] == ["idle"])
        assert site.view.apply_sync(tasks.double, 4) == 8


def test_a_paused_queue_waits_and_goes_on(site):
    site.worker("-n", "1")
    client = site.client
    assert lines("queue", "pause", "default") == [
        {"queue": "default", "outcome": "paused"}
    ]

    waiting = site.view.apply_async(tasks.double, 21)

    assert lines("queue", "ls") == [
        {"queue": "default", "state": "paused", "ready": 1, "engines": 1}
    ]
    assert "is paused" in str(client.why(waiting.msg_ids[0]))
    lines("queue", "resume", "default")
    assert waiting.get(DEADLINE) == 42
    assert redtask("queue", "pause", "No Queue")[0] == 2


def test_a_client_has_engines_do_things(site, gate):
    worker = site.worker("-n", "2")
    client = site.client
    first, second = client.ids

    client.drain(first)
    assert site.view.map_async(tasks.double, range(4)).get(DEADLINE) == [0, 2, 4, 6]
    client.resume()
    client.shutdown(second, restart=True)
    until(lambda: second not in client.ids and len(client.ids) == 2)
    with pytest.raises(IndexError, match="no engine 99"):
        client.drain(99)
    with pytest.raises(KeyError, match="no engine x"):
        client.stacks(["x"])
    with pytest.raises(ValueError, match="no such signal"):
        client.send_signal("SIGNONE", first)
    with pytest.raises(ValueError, match="hub=True"):
        client.shutdown(first, hub=True)

    held = site.view.apply_async(tasks.pass_gate, str(gate))
    until(lambda: site.state(held.msg_ids[0]) == "running")
    # The hub knows that it runs a moment before it does.
    until(lambda: client.stacks(held.engine_id)[0].task)
    client.send_signal("SIGKILL", held.engine_id)
    with pytest.raises(error.EngineError, match="SIGKILL"):
        held.get(DEADLINE)
    until(lambda: len(client.ids) == 2)

    async def shut_down():
        async with aio.Client(site.server.url) as there:
            await there.drain()
            await there.resume(await there.ids())
            assert len(await there.stacks()) == 2
            await there.shutdown()

    asyncio.run(shut_down())
    assert worker.wait() == 0
    assert client.ids == []


def test_an_order_is_obeyed_once_and_by_its_own_process(site):
    worker = site.worker("-n", "1", "--name", "w")
    client = site.client
    sign = client._session.keyring.sign_control
    key = client._session.keys.control("w")
    expiry = int(site.redis.time()[0] + 60) * 1000
    card = site.redis.hgetall(client._session.keys.worker("w"))
    process = f"{card[b'pid'].decode()}.{card[b'begun'].decode()}"

    again = sign("w", expiry, f"order nonce {process} restart *")
    site.redis.rpush(key, again)
    until(lambda: client.ids == [1])
    site.redis.rpush(key, again)
    worker.wait_for("was obeyed before")
    site.redis.rpush(key, sign("w", expiry, "order other 1.2 restart *"))
    until(lambda: worker.told.count("is refused") == 2)
    site.redis.rpush(key, sign("w", expiry, f"order more {process} dance *"))
    worker.wait_for("not understood: 'dance'")
    site.redis.rpush(key, sign("w", expiry, "order short"))
    until(lambda: worker.told.count("not understood") == 2)

    assert client.ids == [1]


def test_a_worker_that_stops_starts_no_engines_when_it_is_told_to(site, gate):
    worker = site.worker("-n", "2", "--name", "w")
    running = site.view.apply_async(tasks.pass_gate, str(gate), 1)
    until(lambda: any(one.task for one in site.client.stacks()))
    worker.signal(signal.SIGTERM)
    until(lambda: len(worker.engines()) == 1)

    lines("engine", "restart", "--worker", "w")
    gate.touch()

    assert worker.wait() == 0
    assert running.get(DEADLINE) == 1
    assert site.client.ids == []


def test_a_scheme_that_a_worker_cannot_verify_costs_nothing(
    site, gate, tmp_path, monkeypatch
):
    worker = site.worker("-n", "1")
    engines = worker.engines()
    running = site.view.apply_async(tasks.pass_gate, str(gate), 1)
    until(lambda: any(one.task for one in site.client.stacks()))
    shutil.copytree(os.environ["REDTASK_HOME"], tmp_path / "other")
    monkeypatch.setenv("REDTASK_HOME", str(tmp_path / "other"))
    lines("key", "new", "--add")
    lines("key", "rotate", "--now")

    lines("configure", "--scheme", str(EXAMPLE))
    worker.wait_for("signed with a key that is not ours, or not at all; trying on")
    gate.touch()
    lines("configure", "--scheme", "leastload")

    assert running.get(DEADLINE) == 1
    assert worker.engines() == engines


def test_a_key_is_changed_only_when_all_workers_are_ready_for_that(site):
    first = site.worker("-n", "1", "--name", "w1")
    (added,) = lines("key", "new", "--add")

    # It would refuse what the new one signs.
    code, out, err = redtask("key", "rotate")
    assert (code, out) == (5, "")
    assert f"1 worker does not know {added['key_id']} yet: w1" in err
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    second = site.worker("-n", "1", "--name", "w2")
    lines("key", "rotate")

    # It still signs with the old one, so clients would refuse its results.
    (_, old) = lines("key", "ls")
    code, out, err = redtask("key", "drop", old["key_id"], "--yes")
    assert (code, out) == (5, "")
    assert f"1 worker still signs with {old['key_id']}: w2" in err
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    site.worker("-n", "1", "--name", "w3")
    lines("key", "drop", old["key_id"], "--yes")

    with Client(site.server.url) as client:
        assert client.load_balanced_view().apply_sync(abs, -3) == 3


def test_a_worker_that_does_not_answer_has_unknown_keys(site, monkeypatch):
    worker = site.worker("-n", "1")
    lines("key", "new", "--add")
    worker.signal(signal.SIGSTOP)

    with monkeypatch.context() as patch:
        patch.setattr("redtask.orders.ANSWER", 0.2)
        code, out, err = redtask("key", "rotate")

    worker.signal(signal.SIGCONT)
    assert (code, out) == (5, "")
    assert "so nobody knows its keys (--now: do not ask)" in err
    lines("key", "rotate", "--now")


def test_a_worker_that_does_not_answer_is_told_of(site, monkeypatch):
    worker = site.worker("-n", "1")
    site.client.drain()
    worker.signal(signal.SIGSTOP)

    with monkeypatch.context() as patch:
        patch.setattr("redtask.orders.ANSWER", 0.2)
        with pytest.raises(TimeoutError, match="does not answer"):
            site.client.stacks()

    # That it goes on is no wish of an operator's to have its engines go on.
    worker.signal(signal.SIGCONT)
    assert site.client.stacks()[0].stack
    assert [one["state"] for one in lines("engine", "ls")] == ["drained"]

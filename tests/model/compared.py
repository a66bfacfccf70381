"""Is the hub as the model says?"""

from __future__ import annotations

from typing import Any

from tests.model.rules import Rules
from tests.model.things import ENDED, Engine, Places, Task, numbers


class Compared(Rules):
    """A hub that is compared with the real one."""

    def compare(self) -> None:
        """Raise an AssertionError unless the hub is as this."""
        seen = self.seen
        for task in self.tasks.values():
            found = seen.tasks.get(task.name)
            assert found, f"there is no {task.name}"
            told, expected = _shown(seen, task, found), self._expected(task)
            assert told == expected, f"{task.name} is {told}, not {expected}"
            task.stands = found.get("class", "") if task.state == "ready" else ""
            if task.state == "ready":
                self._check_line(task)
            self._check_edges(task)
        assert set(seen.tasks) == set(self.tasks)
        timers = {
            f"{kind}:{task.name}": due
            for task in self.tasks.values()
            for kind, due in task.timers.items()
        }
        assert seen.timers == timers, f"{seen.timers}, not {timers}"
        assert seen.leases.keys() == self.engines.keys()
        if self.several:
            self._learn_use()
        for engine in self.engines.values():
            self._compare_engine(engine)
        # How far it was told that time is, to who set a timer in it.
        far = int(seen.hub.get("far", 0))
        assert far in (self.far, self.now())
        self.far = far
        clock = tuple(int(seen.hub[name]) for name in ("last", "skew", "grace"))
        assert clock == (self.last, self.skew, self.grace)
        ended = {state: int(seen.hub.get(state, 0)) for state in ENDED}
        assert ended == {state: self.ended[state] for state in ENDED}
        for fn, labels in self.incapable.items():
            assert numbers(seen.functions[fn].get("refused", "")) == labels

    def _learn_use(self) -> None:
        """What was placed in this call, and ended in it, has used an engine as well."""
        most = int(self.seen.hub.get("used", 0))
        assert most >= self.used
        self.used = most
        for name, engine in self.engines.items():
            used = int(self.seen.engines[name]["used"])
            assert engine.used <= used <= most, name
            engine.used = used

    def _compare_engine(self, engine: Engine) -> None:
        seen, name = self.seen, engine.name
        about = seen.engines[name]
        assert list(seen.assigned[name]) == [one.name for one in engine.assigned]
        assert list(seen.held[name]) == [one.name for one in engine.held]
        assert seen.leases[name] in (engine.lease, 0)
        engine.lease = int(seen.leases[name])
        found = (int(about["number"]), about["nonce"], about.get("next", ""))
        assert found == (engine.number, engine.nonce, engine.next), name
        assert int(about["used"]) == engine.used, name
        assert int(about["id"]) == engine.label
        room = engine.number > 0 and not engine.closed
        room = room and engine.load < self._room()
        for queue in engine.queues:
            free = name in seen.free.get(queue, {})
            assert free == room, f"{name} is {'' if free else 'not '}free in {queue}"

    def _expected(self, task: Task) -> dict[str, Any]:
        open_ = {letter: task.is_open(letter) for letter in "af"}
        return {
            "state": task.state,
            "verdict": task.verdict,
            "tries": (task.tries, task.deaths),
            "token": task.token,
            "engine": task.engine,
            "place": task.place() if task.state not in ENDED else None,
            "not": task.refused if task.state not in ENDED else None,
            "open": {
                letter: len(members.pending) if open_[letter] else None
                for letter, members in task.sets()
            },
            "gate": task.gate if task.state not in ENDED else None,
            "start": task.start,
            "left": task.left,
            "unwanted": task.unwanted,
            "kept": task.kept,
            "expiry": task.expiry if task.fn and task.state in ENDED else None,
        }

    def _check_line(self, task: Task) -> None:
        """Whoever may take a task looks where it stands."""
        places = self.places(task)
        there = Places.read(task.stands)
        if task.stands == "?":
            return
        finders = {one.name for one in self.serving(task.queue, there)}
        for engine in self.serving(task.queue, places):
            assert engine.name in finders, f"{engine.name} cannot find {task.name}"
        if self.standing(task) == "somewhere":
            return
        # Whoever looks there next, or goes on with what is leaving, finds that out.
        looks = any(
            task.queue in one.queues and there.admits(one.label)
            for one in self.engines.values()
        )
        assert looks, f"{task.name} stands where nobody comes"

    def _check_edges(self, task: Task) -> None:
        """Whoever a task waits for will tell it."""
        for letter, members in task.sets():
            for name in members.pending if task.is_open(letter) else ():
                edges = self.seen.edges.get(name, {})
                assert letter + task.name in edges, f"{name} tells not {task.name}"
                ended = self.tasks[name].state in ENDED
                assert not ended or name in self.seen.unsettled

    def timers(self) -> list[int]:
        """Return what is due, and when."""
        return [due for one in self.tasks.values() for due in one.timers.values()]

    @staticmethod
    def gate_of(task: Task) -> str | None:
        """Return the gate that it stands behind."""
        return task.gate if task.state not in ENDED else None

    def why(self, task: Task) -> str:
        """Return what an unended task waits for, in a word; "" for nothing."""
        if task.state == "waiting":
            waits = [letter for letter, _ in task.sets() if task.is_open(letter)]
            if task.gate or task.start is not None:
                waits.append("gate" if task.gate else "start")
            return " ".join(waits)
        if task.state == "ready" and not self.serving(task.queue, self.places(task)):
            return "an engine"
        return ""


def _shown(seen: Any, task: Task, found: dict[str, str]) -> dict[str, Any]:
    """Return what a record says, as the model would."""
    ended = found["state"] in ENDED
    opened: dict[str, int | None] = {}
    for letter, _ in task.sets():
        text = found.get(f"n{letter}")
        # One that ran may end with its follow open: nobody asks any more.
        opened[letter] = None
        if text and not ended:
            opened[letter] = int(text.removesuffix("!").partition(":")[2])
    start = found.get("start")
    left = found.get("left")
    return {
        "state": found["state"],
        "verdict": found.get("verdict", ""),
        "tries": (int(found.get("tries", 0)), int(found.get("deaths", 0))),
        "token": found.get("token", ""),
        "engine": found.get("engine", "").partition("/")[2],
        "place": None if ended else numbers(found.get("place", "")),
        "not": None if ended else set(numbers(found.get("not", ""))),
        "open": opened,
        "gate": None if ended else found.get("gate"),
        "start": int(start) if start else None,
        "left": int(left) if left else None,
        "unwanted": "x" in found.get("marks", ""),
        "kept": int(found.get("kept", 0)),
        "expiry": seen.ended[found["state"]][task.name] if task.fn and ended else None,
    }

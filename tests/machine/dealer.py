"""What a walk sends, drawn at random from what the hub has."""

from __future__ import annotations

from typing import Any

from tests.machine.pair import BIG, Pair
from tests.model.things import ENDED, Outcome

CLIENTS = ("c", "d")
#: What precedes the number of a task that comes alone, and of one of many.
FORMS = ("", "0")
LETTERS = ("as", "as", "af", "af", "asf", "ns", "nf", "nsf", "nsf")
#: Of which sets seldom two are known to have ended.
SETTLED = {"after": ("ns",), "follow": ("ns", "nsf")}
KINDS = ("ok", "ok", "ok", "ok", "error", "error", "unbegun", "unmet", "keep", "keep")
RARE_KINDS = ("late", "final", "aborted", "require")


class Dealer(Pair):
    """Draws what is sent next; the model says what there is."""

    def __init__(self):
        super().__init__()
        #: Everything ever submitted, to be sent again.
        self.submits: list[list[dict[str, Any]]] = []
        self.gates: list[str] = []
        #: Numbers that are not used yet, although greater ones are.
        self.passed: list[int] = []
        #: Are there chains, and nothing that keeps engines from taking them along?
        self.plain = False

    def pick(self, dice, *, recent=True):
        """Return the name of a task, more often a late one."""
        if not self.names:
            return "x-1"
        at = int(dice.expovariate(0.2)) if recent else dice.randrange(len(self.names))
        return self.names[max(0, len(self.names) - 1 - at)]

    def some(self, dice, own, settled=0.25):
        """Return the members of a set: known ones, and now and then one that is not.

        ``settled``: how often only such as have ended.
        """
        if dice.random() < settled:
            # That all have ended, in one way or in two, is rare else.
            ended = {
                state: [
                    one.name for one in self.model.tasks.values() if one.state == state
                ]
                for state in ("completed", "failed")
            }
            both = "completed", "failed"
            states = dice.choice((both[:1] * 2, both[1:] * 2, both, both))
            if all(ended[state] for state in states):
                return list({dice.choice(ended[state][-8:]): None for state in states})
        count = dice.choice((1, 2, 2, 2, 3, 4))
        names = [self.pick(dice) for _ in range(count)]
        if dice.random() < 0.03:
            names.append(dice.choice(("x-9", own)))
        return names

    def are_known(self, names, *, again):
        """May these be sent again? Nobody does so when they were forgotten long ago."""
        known = {*self.model.tasks, *(self.model.tombs if again else ())}
        return all(name in known for name in names)

    def choose_labels(self, dice):
        """Return labels of engines, most of which live."""
        living = [one.label for one in self.model.engines.values()]
        labels = dice.sample(living, dice.randint(1, min(2, len(living))))
        if dice.random() < 0.1:
            # Of one that may be gone.
            labels.append(0)
        return frozenset(labels)

    def flags(self, dice, own):
        """Return what a client says of its tasks, for the model."""
        if self.plain:
            return self.chained(dice)
        group: dict[str, Any] = {
            "fn": dice.choice(("f", "f", "g")),
            "queue": dice.choice(("a", "a", "b")),
            "args": b"x" * dice.choice((3, 3, 3, 100, 100, BIG)),
            "priority": dice.choice((0, 0, 0, 5, -5)),
            "retries": dice.choice((0, 0, 1, 4)),
        }
        if dice.random() < 0.1:
            group["ttl"] = dice.choice((0, 50))
        if dice.random() < 0.3:
            return group
        self.depend(dice, group, own)
        if dice.random() < 0.2:
            group["timeout"] = dice.choice((1, 50, 5000, 100_000))
        if dice.random() < 0.1:
            group["start_in"] = dice.choice((0, 50, 5000))
        elif dice.random() < 0.1:
            group["start_at"] = max(0, self.stamp + dice.choice((-50, 50, 5000)))
        if dice.random() < 0.3:
            group["pause"] = (dice.choice((0, 100, 4000)), dice.choice((1, 2)))
        if dice.random() < 0.2:
            group["elsewhere"] = True
        return group

    def chained(self, dice):
        """Return what is said of tasks that mostly come after the latest."""
        group: dict[str, Any] = {
            "fn": "f",
            "queue": "a",
            "args": b"x" * dice.choice((3, 100, BIG)),
            "priority": dice.choice((0, 0, 0, 0, 5)),
            "retries": dice.choice((0, 1, 4)),
        }
        if self.names and dice.random() < 0.8:
            group["after"] = ("as", [self.names[-1]])
        if dice.random() < 0.2:
            group["pause"] = (100, 1)
        return group

    def depend(self, dice, group, own):
        """Let tasks of a group depend on others, on engines, and on a gate."""
        for kind, chance in (("after", 0.5), ("follow", 0.3)):
            if dice.random() < chance and self.names:
                letters = dice.choice(LETTERS)
                # Else one of them alone mostly decides.
                settled = 0.6 if letters in SETTLED[kind] else 0.25
                group[kind] = (letters, self.some(dice, own, settled))
        if dice.random() < 0.15 and self.model.engines:
            group["targets"] = self.choose_labels(dice)
        if "after" in group and dice.random() < 0.2:
            group["refs"] = [name for name in group["after"][1] if name != own]
        if dice.random() < 0.15:
            self.stand_behind_a_gate(dice, group)

    def stand_behind_a_gate(self, dice, group):
        """Let tasks wait for a gate, an old or a new one."""
        if not self.gates or dice.random() < 0.4:
            self.gates += self.new_names(dice, "c", 1)
            self.names.append(self.gates[-1])
        group["gate"] = self.gates[-1]
        if dice.random() < 0.3:
            group["later"] = 1

    def new_names(self, dice, client, count, form=None):
        """Return names of a client's, in one form or the other."""
        form = dice.choice(FORMS) if form is None else form
        if count == 1 and self.passed and dice.random() < 0.3:
            # Another thread was faster with greater ones.
            return [f"{client}-{form}{self.passed.pop()}"]
        if dice.random() < 0.1:
            self.passed.append(self.next_task)
            self.next_task += 1
        first = self.next_task
        self.next_task += count
        return [f"{client}-{form}{first + n}" for n in range(count)]

    def new_groups(self, dice):
        """Return groups of tasks that were never submitted."""
        groups = []
        for _ in range(dice.choice((4, 6, 9) if self.plain else (1, 1, 1, 2, 3))):
            client = dice.choice(CLIENTS)
            form = dice.choice(FORMS)
            group = self.flags(dice, f"{client}-{form}{self.next_task}")
            # Only one that is alone can depend on itself, or on those before it.
            alone = "after" in group or "follow" in group
            several = dice.random() < (0.1 if self.plain else 0.4)
            count = dice.randint(1, 3) if several or not alone else 1
            group["names"] = self.new_names(dice, client, count, form)
            self.names += group["names"]
            groups.append(group)
        self.submits.append(groups)
        return groups

    def anew(self, dice):
        """Return what is said anew of a copy, for the model."""
        said: dict[str, Any] = {}
        for kind in ("after", "follow"):
            if dice.random() < 0.5:
                letters = dice.choice(LETTERS)
                said[kind] = (letters, self.some(dice, "x-8"))
                if dice.random() < 0.3:
                    said[kind] = None
        return said

    def reports(self, dice, name):
        """Report what was taken once, and some of what the engine has."""
        old = self.old(dice)
        return old + self.outcomes(dice, name, old)

    def outcomes(self, dice, name, said=()):
        """Report some of what the engine has, in the order of its taking.

        What was ``said`` before counts, whatever is said of the same tasks then.
        """
        engine = self.model.engines.get(name)
        kinds: tuple[str, ...] = KINDS if dice.random() < 0.8 else RARE_KINDS
        if self.plain:
            kinds = tuple(kind for kind in kinds if kind not in ("unmet", "require"))
        found: list[Outcome] = []
        for task in engine.held if engine else ():
            kind = dice.choice(kinds)
            if not self.may_begin(task, (*said, *found)):
                kind = dice.choice(("unbegun", "keep"))
            by = kind == "require"
            if kind != "keep":
                kind = "unmet" if by else kind
                found.append(Outcome(kind, task.name, task.token, by))
        return found

    def may_begin(self, task, found):
        """Has all that a task waits for succeeded, as far as its engine knows?"""
        first: dict[str, str] = {}
        for one in found:
            first.setdefault(one.name, one.kind)
        told = {name for name, kind in first.items() if kind == "ok"}
        waits = task.after.pending if task.is_open("a") else ()
        return all(
            name in told or self.model.tasks[name].state == "completed"
            for name in waits
        )

    def old(self, dice):
        """Report what was taken once."""
        if not self.works or dice.random() < 0.8:
            return []
        name, token = dice.choice(self.works[-9:])
        task = self.model.tasks.get(name)
        kind = dice.choice(("ok", "error", "unbegun"))
        if task and task.token == token and not self.may_begin(task, ()):
            kind = "unbegun"
        return [Outcome(kind, name, token)]

    def is_pending(self, name):
        """Is it a task that has not ended?"""
        task = self.model.tasks.get(name)
        return task is not None and task.state not in ENDED

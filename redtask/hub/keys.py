"""The few key names that Python needs; ``lua/lib/keys.lua`` makes all others."""

from __future__ import annotations

from dataclasses import dataclass, field

from redtask.address import check_hub


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the hub with this name."""

    #: The hub's name.
    name: str
    #: Prefix and hash tag of every key.
    root: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_hub(self.name)
        object.__setattr__(self, "root", f"{{redtask:{self.name}}}")

    def hub(self) -> str:
        """Return the hash of the hub's settings and counters."""
        return f"{self.root}:hub"

    def done(self, client: str) -> str:
        """Return the stream that tells a client which tasks have ended."""
        return f"{self.root}:done:{client}"

    def newest(self, client: str) -> str:
        """Return the greatest number that a client has given a task of many."""
        return f"{self.root}:newest:{client}"

    def bell(self, engine: str) -> str:
        """Return the list that an idle engine blocks on."""
        return f"{self.root}:engine:{engine}:bell"

    def held(self, engine: str) -> str:
        """Return the hash of the tasks that an engine has taken."""
        return f"{self.root}:engine:{engine}:held"

    def engine(self, engine: str, part: str = "") -> str:
        """Return an engine's hash, or a key beside it (``assigned``, ...)."""
        key = f"{self.root}:engine:{engine}"
        return f"{key}:{part}" if part else key

    def engines(self) -> str:
        """Return the sorted set of live engines."""
        return f"{self.root}:engines"

    def queues(self) -> str:
        """Return the hash of the queues in use."""
        return f"{self.root}:queues"

    def waiting(self) -> str:
        """Return the sorted set of tasks that wait for others or for a time."""
        return f"{self.root}:waiting"

    def ready(self, queue: str, line: str = "") -> str:
        """Return the line of a queue, or that of a class of its tasks."""
        key = f"{self.root}:ready:{queue}"
        return f"{key}:{line}" if line else key

    def classes(self, queue: str) -> str:
        """Return the sorted set of a queue's lines that many engines may use."""
        return f"{self.root}:classes:{queue}"

    def ended(self, state: str) -> str:
        """Return the sorted set of the tasks in a final state, by their expiry."""
        return f"{self.root}:ended:{state}"

    def latest(self, state: str) -> str:
        """Return that of those with a retention of their own, by their end."""
        return f"{self.root}:latest:{state}"

    def tied(self, engine: str) -> str:
        """Return the sorted set of lines for this engine and only few others."""
        return f"{self.root}:engine:{engine}:classes"

    def worker(self, worker: str) -> str:
        """Return the hash that describes a worker process."""
        return f"{self.root}:worker:{worker}"

    def control(self, worker: str) -> str:
        """Return the list of signed messages to a worker."""
        return f"{self.root}:worker:{worker}:control"

    def answer(self, nonce: str) -> str:
        """Return the list of supervisors' answers to an order."""
        return f"{self.root}:answer:{nonce}"

    def alarm(self) -> str:
        """Return the list that signals that the next sweep is due earlier."""
        return f"{self.root}:alarm"

    def timers(self) -> str:
        """Return the sorted set of timers, by when they are due."""
        return f"{self.root}:timers"

    def task(self, task_id: str, part: str = "") -> str:
        """Return a task's record, or a key beside it (``args``, ...)."""
        key = f"{self.root}:task:{task_id}"
        return f"{key}:{part}" if part else key

    def rows(self) -> str:
        """Return the hash of what was submitted for tasks on the sheet."""
        return f"{self.root}:rows"

    def runs(self) -> str:
        """Return the hash of those tasks' runs."""
        return f"{self.root}:runs"

    def parcel(self, task_id: str, token: str = "") -> str:
        """Return the key of large arguments, or of a result, sent ahead of a call."""
        key = f"{self.root}:parcel:{task_id}"
        return f"{key}:{token}" if token else key

    def live(self, task_id: str) -> str:
        """Return the stream of a task's live output and progress."""
        return self.task(task_id, "live")

    def function(self, digest: str) -> str:
        """Return the hash with a pickled function."""
        return f"{self.root}:fn:{digest}"

    def scheme(self) -> str:
        """Return the hash with a user's own scheme."""
        return f"{self.root}:scheme"

    def story(self) -> str:
        """Return the stream that logs what did not go smoothly."""
        return f"{self.root}:story"

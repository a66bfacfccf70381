"""All data of a hub, read at once and from outside.

Nothing here is shared with the scripts but the names of keys.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from functools import cache
from typing import Any

KEY = re.compile(
    r"""
      (?P<single>hub|engines|queues|functions:idle|story|labels|hidden|waiting|unsettled
        |timers|alarm|apart|gone|scheme|paused|unranked|rows|runs)
    | task:(?P<task>[a-z0-9]+-[0-9]+)(:(?P<part>[a-z]+))?
    | (?P<parcel>parcel):[a-z0-9]+-[0-9]+(:[0-9]+:[A-Za-z0-9_-]+)?
    | engine:(?P<engine>[A-Za-z0-9_-]+)
      (:(?P<of_engine>bell|assigned|held|lots|classes))?
    | fn:(?P<fn>[A-Za-z0-9_-]+)
    | ready:(?P<ready>[a-z0-9_-]+(:[=!][0-9,-]+|:\?)?)
    | classes:(?P<classes>[a-z0-9_-]+)
    | free:(?P<free>[a-z0-9_-]+)
    | ended:(?P<ended>completed|failed|aborted)
    | latest:(?P<latest>completed|failed|aborted)
    | done:(?P<done>[a-z0-9]+)
    | newest:(?P<newest>[a-z0-9]+)
    | answer:[A-Za-z0-9_-]+
    | worker:(?P<worker>[A-Za-z0-9_.-]+)(:(?P<of_worker>control))?
    """,
    re.VERBOSE,
)


# All keys of a hub in one call: name, type, seconds to live, and what is in it. Of
# strings only the lists of ids and engines are read, of others how long they are.
READ = """
local found = {}
local function add(key, kind, value)
  found[#found + 1] = key
  found[#found + 1] = kind
  found[#found + 1] = redis.call("TTL", key)
  found[#found + 1] = value
end
for _, key in ipairs(redis.call("KEYS", KEYS[1] .. ":*")) do
  local kind = redis.call("TYPE", key).ok
  if kind == "hash" then
    add(key, kind, redis.call("HGETALL", key))
  elseif kind == "zset" then
    add(key, kind, redis.call("ZRANGE", key, 0, -1, "WITHSCORES"))
  elseif kind == "list" then
    add(key, kind, redis.call("LLEN", key))
  elseif kind == "string" then
    local part = string.match(key, ":(%a+)$")
    local list = { after = "GET", follow = "GET", targets = "GET", refs = "GET" }
    local is_number = string.find(key, ":newest:", 1, true)
    add(key, kind, redis.call(is_number and "GET" or list[part] or "STRLEN", key))
  elseif kind == "set" and key == KEYS[1] .. ":paused" then
    add(key, kind, redis.call("SMEMBERS", key))
  elseif kind == "stream" then
    add(key, kind, redis.call("XLEN", key))
  else
    add(key, kind, 0)
  end
end
return found
"""

READ_SHA = hashlib.sha1(READ.encode()).hexdigest()  # noqa: S324 - as Redis names it


@cache
def _kind(name):
    """Return what the pattern of keys says of a name."""
    return KEY.fullmatch(name)


def _plain(text):
    """Return text of bytes; what is no text is replaced."""
    return text.decode("utf-8", "replace")


def unfolded(row, run):
    """Return a record that stands on the sheet, the length of its result, its score."""
    begin, _, rest = row.partition(b":")
    score, submitted, length = begin.split(b" ")
    head, args = rest[: int(length)], rest[int(length) :]
    texts = []
    while head:
        count, _, head = head.partition(b":")
        texts.append(_plain(head[: int(count)]))
        head = head[int(count) :]
    record = dict(zip(texts[::2], texts[1::2], strict=True))
    record |= {"state": "ready", "submitted": _plain(submitted), "args": _plain(args)}
    result = b""
    if run is not None and run.startswith(b"c"):
        names = ["state", "engine", "token", "started", "took", "repr", "result"]
        parts = run.split(b"\0", 6)
        record |= {name: _plain(part) for name, part in zip(names, parts, strict=True)}
        record["state"], result = "completed", parts[-1]
    elif run is not None and run.startswith(b"a"):
        names = ["state", "ended", "verdict"]
        parts = _plain(run).split("\0")
        record |= dict(zip(names, parts, strict=True)) | {"state": "aborted"}
        record["verdict"], _, record["reason"] = record["verdict"].partition(" ")
    elif run is not None:
        token, _, engine, started, end = _plain(run).split(" ")
        assert end == "=", run
        record |= {"state": "running", "token": token}
        record |= {"engine": engine, "started": started}
    return record, len(result), _plain(score)


class Picture:
    """All data of one hub, read at once."""

    def __init__(self, read, root, before=None):
        """Make sense of the reply of ``READ``; what is as it was ``before`` is kept."""
        self.wrong = []
        self.root = root
        self.before = before
        #: What each key holds as it was read, to be compared with.
        self.raw: dict[bytes, Any] = {}
        #: What is at each key behind the root, and its seconds to live.
        self.data: dict[str, Any] = {}
        self.ttl: dict[str, int] = {}
        self._take(read)
        self.keys = {name: _kind(name) for name in sorted(self.data)}
        for name, found in self.keys.items():
            self.hold(found, f"{name} is a key of no known pattern")
            if found and (found["parcel"] or found["newest"]):
                # A call that is about to come takes it; else it goes by itself.
                self.hold(self.ttl[name] >= 0, f"{name} stays forever")
        self.hub = self.hash("hub")
        self.hwm = int(self.hub.get("hwm", 0))
        self.scheme = self.hub.get("format", " ").split(" ")[1]
        #: To be ranked anew: what stands of them in ``free`` may be of old.
        self.unranked = self.zset("unranked")
        self.clock = int(self.hub.get("last", 0))
        self.queues = {name: int(value) for name, value in self.hash("queues").items()}
        self.leases = self.zset("engines")
        self.idle = self.zset("functions:idle")
        self.labels = {
            str(int(label)): engine for engine, label in self.zset("labels").items()
        }
        self.waiting = self.zset("waiting")
        self.timers = self.zset("timers")
        self.unsettled = self.zset("unsettled")
        self.paused = {queue.decode() for queue in self.data.get("paused", ())}
        self.hold(
            not self.paused or "p" in self.hub.get("rare", ""), "paused without mark p"
        )
        self.apart = {name: int(value) for name, value in self.hash("apart").items()}
        self.parts: dict[str, set[str]] = defaultdict(set)
        self.tasks: dict[str, dict[str, str]] = {}
        #: Those on the sheet, each with the length of its result, and its score.
        self.folded: dict[str, tuple[int, str]] = {}
        self.engines: dict[str, dict[str, str]] = {}
        self.functions: dict[str, dict[str, str]] = {}
        #: The greatest number of each client's tasks in bulk.
        self.newest: dict[str, float] = {}
        self.ready: dict[str, dict[str, float]] = {}
        self.free: dict[str, dict[str, float]] = {}
        self.ended: dict[str, dict[str, float]] = {}
        self.latest: dict[str, dict[str, float]] = {}
        self.classes: dict[str, dict[str, float]] = {}
        for name, found in self.keys.items():
            if found:
                self._read(name, found)
        self._unfold()
        self.assigned = {e: self.zset(f"engine:{e}:assigned") for e in self.engines}
        #: By engine: what its reports are checked against, by task.
        self.entries: dict[str, dict[str, str]] = {}
        self.held = {e: self._held(e) for e in self.engines}
        self.tied = {e: self.zset(f"engine:{e}:classes") for e in self.engines}
        #: Whom each task tells of its end: letter and id of the dependent.
        self.edges = {
            name: self.zset(f"task:{name}:dependents")
            for name, parts in self.parts.items()
            if "dependents" in parts
        }

    def _take(self, flat):
        skip = len(self.root) + 1
        old = self.before.raw if self.before else {}
        for at in range(0, len(flat), 4):
            key, kind, ttl, value = flat[at : at + 4]
            name = key.decode()[skip:]
            self.raw[key] = value
            if self.before and old.get(key) == value and name in self.before.data:
                value = self.before.data[name]
            elif kind in (b"hash", b"zset"):
                pairs = zip(value[::2], value[1::2], strict=True)
                if kind == b"hash":
                    value = {_plain(field): _plain(text) for field, text in pairs}
                else:
                    value = {member.decode(): float(score) for member, score in pairs}
            self.data[name] = value
            self.ttl[name] = ttl

    def _read(self, name, found):
        if found["part"]:
            self.parts[found["task"]].add(found["part"])
        elif found["task"]:
            self.tasks[found["task"]] = self.hash(name)
        elif found["engine"] and not found["of_engine"]:
            self.engines[found["engine"]] = self.hash(name)
        elif found["fn"]:
            self.functions[found["fn"]] = self.hash(name)
        elif found["newest"]:
            self.newest[found["newest"]] = float(self.data[name])
        for kind in ("ready", "free", "ended", "latest", "classes"):
            if found[kind]:
                getattr(self, kind)[found[kind]] = self.zset(name)

    def _unfold(self):
        """Note the records that stand on the sheet."""
        rows, runs = self._flat("rows"), self._flat("runs")
        self.hold(runs.keys() <= rows.keys(), f"no rows of {runs.keys() - rows.keys()}")
        for task, row in rows.items():
            self.hold(task not in self.tasks, f"{task} has two records")
            record, *more = unfolded(row, runs.get(task))
            before = self.before and self.before.tasks.get(task)
            self.tasks[task] = before if before == record else record
            self.folded[task] = (*more,)

    def _flat(self, name):
        flat = self.raw.get(f"{self.root}:{name}".encode(), ())
        return {
            field.decode(): value
            for field, value in zip(flat[::2], flat[1::2], strict=True)
        }

    def hold(self, truth, sentence):
        """Note the sentence unless the truth is one."""
        if not truth:
            self.wrong.append(sentence)

    def _held(self, engine):
        """Return what an engine holds, each by its score."""
        entries = dict(self.hash(f"engine:{engine}:held"))
        for token, lot in self.hash(f"engine:{engine}:lots").items():
            head, _, ids = lot.partition("\n")
            count, _, run = head.partition(" ")
            names = ids.split(" ")
            is_right = run.startswith(f"{token} = ") and int(count) == len(names)
            self.hold(is_right, f"{engine}: {token}: {lot}")
            for name in names:
                self.hold(name not in entries, f"{engine} holds {name} twice")
                entries[name] = run
        self.entries[engine] = entries
        scores = {}
        for name, entry in entries.items():
            score = entry.split()[1]
            if score == "=":
                score = self.folded[name][1]
            scores[name] = float(score)
        return dict(sorted(scores.items(), key=lambda item: item[1]))

    def hash(self, name):
        """Return a hash as text."""
        return self.data.get(name, {})

    def zset(self, name):
        """Return a sorted set."""
        return self.data.get(name, {})

    def load(self, engine):
        """Return how many tasks an engine has."""
        return len(self.assigned[engine]) + len(self.held[engine])

    def has_room(self, engine):
        """May this engine be given another task?"""
        load = self.load(engine)
        return load == 0 if self.hwm == 0 else load < self.hwm

    def text(self, name, field):
        """Return a field of a record, wherever it stands."""
        value = self.tasks[name].get(field)
        if value == "":
            value = self.data[f"task:{name}:{field}"].decode()
        return value

    def refuses(self, label, name):
        """Can an engine never run the function of this task?"""
        digest = self.tasks[name]["fn"].split()[0]
        return has(self.functions[digest].get("refused", ""), int(label))

    def rings(self, engine):
        """Return how many rings an engine has not heard."""
        return self.data.get(f"engine:{engine}:bell", 0)


def has(ranges, label):
    """Is a label in a set written as ranges?"""
    for part in filter(None, ranges.split(",")):
        low, _, high = part.partition("-")
        if int(low) <= label <= int(high or low):
            return True
    return False

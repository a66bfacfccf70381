"""Every truth about the data of a hub, checked from outside.

``check`` reads all of a hub and lists whatever does not hold.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from tests.picture import READ, Picture, has

PARTS = (
    "args result error stdout stderr after follow targets refs".split()  # noqa: SIM905
)
BESIDE = ("attempts", "watchers", "dependents", "refusals", "live")
#: The expiry of what is kept as long as there is room, without its time.
FOREVER = 2**52
#: What is added to that of a task with a retention of its own.
OWN = 2**51
#: Arguments that are not told from others when bytes are counted.
SMALL = 1024
ENDED = ("completed", "failed", "aborted")
STATES = ("waiting", "ready", "assigned", "running", *ENDED)
VERDICTS = ("engine_lost", "aborted", "impossible", "invalid", "timeout", "time_limit")


def _places(seen):
    """Return where each id stands."""
    places = defaultdict(list)
    for name in seen.waiting:
        places[name].append(("waiting", None))
    for queue, line in seen.ready.items():
        for name in line:
            places[name].append(("ready", queue))
    for engine in seen.engines:
        for name in seen.assigned[engine]:
            places[name].append(("assigned", engine))
        for name in seen.held[engine]:
            places[name].append(("running", engine))
    for state, ended in seen.ended.items():
        for name in ended:
            places[name].append((state, None))
    return places


def _check_indexes(seen):
    places = _places(seen)
    # A gate is no task, but on a hub of an earlier release, which gave it a retention.
    gates = {
        name
        for name, task in seen.tasks.items()
        if "fn" not in task and "ttl" not in task
    }
    for name in gates:
        seen.hold(f"g:{name}" in seen.timers, f"the gate {name} is never forgotten")
    for name, standing in places.items():
        seen.hold(name in seen.tasks, f"{name} has no record and stands in {standing}")
    for name, task in seen.tasks.items():
        state = task.get("state")
        if name in gates:
            seen.hold(not places[name], f"the gate {name} stands in {places[name]}")
            continue
        where = {
            "ready": ":".join(
                filter(None, (task.get("queue", "default"), task.get("class")))
            ),
            "assigned": task.get("engine", "").partition("/")[2],
            "running": task.get("engine", "").partition("/")[2],
        }.get(state)
        seen.hold(state in STATES, f"{name} has the state {state}")
        seen.hold(
            places[name] == [(state, where)],
            f"{name} is {state} ({where}) and stands in {places[name]}",
        )


def _check_record(seen, name, task):
    if "gate" in task and "fn" not in task:
        seen.hold(task["state"] == "waiting", f"the gate {name} is {task['state']}")
        return
    if "fn" not in task:
        # A gate that was opened or given up.
        seen.hold(task["state"] in ("completed", "aborted"), f"{name} has no function")
        return
    state, token = task.get("state"), task.get("token")
    tries, deaths = int(task.get("tries", 0)), int(task.get("deaths", 0))
    retries = int(task.get("retries", 0))
    hold = seen.hold
    # A completed one ended when it had begun and taken its time.
    dated = state in ("failed", "aborted") and "result" not in task
    hold(dated or "ended" not in task, f"{name} is {state} with an end")
    hold(state != "completed" or "took" in task, f"{name} took no time")
    hold(state != "aborted" or "ended" in task, f"{name} was aborted at no time")
    hold("result" not in task or state == "completed", f"{name} is {state}: result")
    hold("error" not in task or state == "failed", f"{name} is {state}: error")
    hold("verdict" not in task or state in ("failed", "aborted"), f"{name}: verdict")
    hold(state != "aborted" or task.get("verdict") == "aborted", f"{name}: verdict")
    hold(task.get("verdict", "aborted") in VERDICTS, f"{name}: {task.get('verdict')}")
    hold(deaths <= tries <= retries + 1, f"{name}: {tries} tries, {retries} retries")
    hold(deaths <= int(seen.hub["max_deaths"]), f"{name}: {deaths} deaths")
    hold(("tries" in task) == (tries > 0), f"{name}: tries is {task.get('tries')}")
    took = state in ("running", "completed")
    took_back = state in ("failed", "aborted")
    hold(token or not took, f"{name} is {state} without a token")
    hold((token is None) == ("started" not in task), f"{name}: token without start")
    if state == "running":
        engine = task.get("engine", "").partition("/")[2]
        fence = seen.entries.get(engine, {}).get(name, "").split()
        hold(fence[:1] == [token], f"{name}: token {token}, {engine} holds {fence}")
        told = "+" in fence or not task.get("marks")
        run = seen.hash("runs").get(name, "").split()
        hold(("=" in fence) == (name in seen.folded), f"{name}: {engine} holds {fence}")
        hold(name not in seen.folded or fence == run, f"{name}: {fence}, not {run}")
        hold(told, f"{name}: marks that {engine} does not look for")
    marks = task.get("marks", "")
    hold(("root" in task) == ("a" in marks), f"{name}: root, marks {marks}")
    hold(tries == 0 or took_back or "f" in marks, f"{name}: {tries} tries, {marks}")
    if token is not None:
        attempt, _, nonce = token.partition(":")
        low = tries + 1 if took else tries
        hold(nonce, f"{name}: token {token}")
        hold(low <= int(attempt) <= tries + 1, f"{name}: token {token}, {tries} tries")
        hold("engine" in task, f"{name} has a token and no engine")
    hold("submitted" in task and "fn" in task and "args" in task, f"{name}: {task}")


def _check_parts(seen):
    for name, task in seen.tasks.items():
        there = set(seen.parts.pop(name, ()))
        marked = {field for field in PARTS if task.get(field) == ""}
        beside = there & set(PARTS)
        empty = {
            field
            for field in task
            if task[field] == "" and field not in (*PARTS, "marks", "class")
        }
        seen.hold(
            beside == marked,
            f"{name}: marked {marked}, beside it {beside}",
        )
        seen.hold(not empty, f"{name} has empty fields {empty}")
        seen.hold(("attempts" in there) == ("tries" in task), f"{name}: attempts")
        seen.hold(
            ("watchers" in there) == ("w" in task.get("marks", "")), f"{name}: watchers"
        )
        seen.hold(
            "watchers" not in there or task["state"] not in ENDED,
            f"{name} is {task['state']} and has watchers",
        )
        seen.hold(("refusals" in there) == ("refusals" in task), f"{name}: refusals")
        odd = there - set(PARTS) - set(BESIDE)
        seen.hold(not odd, f"{name} has the parts {odd}")
        for part in beside:
            size = seen.data[f"task:{name}:{part}"]
            size = len(size) if isinstance(size, bytes) else size
            told = part == "refs" and "told" in task
            # What is told later is added to what stands there, however short that is.
            seen.hold(
                size > 64 or told, f"{name}: {part} of {size} bytes stands beside"
            )
    for name, parts in seen.parts.items():
        # What a task said goes by itself, a minute later.
        seen.hold(parts == {"live"}, f"there is no {name}, but its {parts}")


def _check_bytes(seen):
    """What ended tasks take beside their records is counted."""
    total = 0
    for name, task in seen.tasks.items():
        for part in ("args", "result", "error", "stdout", "stderr"):
            if task.get("state") in ENDED and task.get(part) == "":
                size = seen.data[f"task:{name}:{part}"]
                total += size if part != "args" or size > SMALL else 0
        size, _ = seen.folded.get(name, (0, ""))
        total += size if size > 64 else 0
    kept = int(seen.hub.get("kept_bytes", 0))
    seen.hold(kept == total, f"{kept} bytes are kept, not {total}")


def _check_latest(seen):
    """Those that ended with a retention of their own are listed by their ends, too."""
    for state in ENDED:
        there = seen.ended.get(state, {}).keys()
        own = {name for name in there if "ttl" in seen.tasks.get(name, {})}
        listed = seen.latest.get(state, {})
        seen.hold(listed.keys() == own, f"{listed.keys() ^ own} in one of two ways")
        for name, stamp in listed.items():
            told = seen.tasks.get(name, {}).get("ended", stamp)
            seen.hold(stamp == int(told), f"{name} ended at {told}, not {stamp}")


def _check_ended(seen):
    _check_latest(seen)
    for state, ended in seen.ended.items():
        for name, expiry in ended.items():
            task = seen.tasks.get(name, {})
            if "ttl" in task and "ended" in task:
                ttl = int(task["ttl"])
                meant = OWN + int(task["ended"]) + (ttl or FOREVER)
                # Later, if others needed it when it was to leave.
                seen.hold(expiry >= meant, f"{name} is kept until {expiry}")
            marked = "t" in task.get("marks", "")
            seen.hold(("ttl" in task) == marked, f"{name} has a ttl: {task}")
        total = int(seen.hub.get(state, 0))
        seen.hold(total >= len(ended), f"{total} {state} counted, {len(ended)} kept")
    _check_bytes(seen)
    counted = sum(int(seen.hub.get(state, 0)) for state in ENDED)
    open_ = sum(
        task.get("state") not in ENDED and bool({"fn", "ttl"} & task.keys())
        for task in seen.tasks.values()
    )
    seen.hold(
        int(seen.hub.get("submitted", 0)) == counted + open_,
        f"{seen.hub.get('submitted')} submitted, {counted} ended, {open_} open",
    )


def _check_functions(seen):
    needed = Counter(
        task["fn"].split()[0] for task in seen.tasks.values() if "fn" in task
    )
    for digest in needed:
        seen.hold(digest in seen.functions, f"there is no function {digest}")
    for digest, function in seen.functions.items():
        count = int(function.get("count", -1))
        seen.hold(function.get("blob"), f"function {digest} has no blob")
        seen.hold(
            count == needed[digest],
            f"function {digest} counts {count}, {needed[digest]} name it",
        )
        seen.hold((digest in seen.idle) == (count == 0), f"function {digest}: idle")
    for digest in seen.idle:
        seen.hold(digest in seen.functions, f"idle {digest} is no function")


def _score(scheme, load, used):
    """Return an engine's score; None: only the author of the scheme knows it."""
    return {
        "leastload": load * 2**40 + used,
        "weighted": load * 2**40 + used,
        "lru": used,
        "twobin": used,
        "pure": used,
        "plainrandom": 0,
    }.get(scheme)


def _check_hidden(seen):
    hold = seen.hold
    for engine in seen.zset("hidden"):
        leaving = seen.engines.get(engine, {}).get("leaving")
        hold(leaving == "1", f"{engine} is hidden, and is not taken apart")


def _check_queues(seen, serving):
    hold = seen.hold
    for queue, free in seen.free.items():
        unknown = set(free) - set(seen.engines)
        hold(not unknown, f"free {queue} holds {unknown}, which are no engines")
    for queue, count in seen.queues.items():
        hold(count == serving[queue], f"{count} engines of {queue}: {serving[queue]}")
        hold(count or queue not in seen.free, f"engines free in {queue} of none")
    lines = {one.partition(":")[0] for one in seen.ready}
    for queue in {*serving, *lines}:
        hold(queue in seen.queues, f"there is no queue {queue}")
    waits = {seen.tasks.get(one, {}).get("queue", "default") for one in seen.waiting}
    for queue in set(seen.queues) - set(serving) - lines - waits:
        hold(False, f"nobody needs the queue {queue}")


def _check_numbers(seen):
    for name in seen.tasks:
        client, _, digits = name.partition("-")
        if len(digits) > 1 and digits.startswith("0"):
            newest = seen.newest.get(client, math.inf)
            # Scripts compare doubles.
            seen.hold(float(digits) <= newest, f"{name} is newer than {newest}")


def _check_engines(seen):
    hold = seen.hold
    hold(
        set(seen.leases) == set(seen.engines),
        f"leases of {set(seen.leases)}, engines {set(seen.engines)}",
    )
    serving: Counter[str] = Counter()
    workers: Counter[str] = Counter()
    for engine, about in seen.engines.items():
        queues = about["queues"].split(",")
        serving.update(queues)
        workers[about["worker"]] += 1
        free = {queue for queue in seen.free if engine in seen.free[queue]}
        drained = "drained" in about
        room = seen.has_room(engine) and not drained
        hold(drained or about.get("leaving") != "drained", f"{engine} is not drained")
        # One whose lease is over may have been begun to be taken apart.
        alive = seen.leases.get(engine, -1) >= seen.clock
        came = int(about["number"]) > 0
        hold(free <= set(queues), f"{engine} is free in {free}, serves {queues}")
        hold(came or not seen.held[engine], f"{engine} took something in no turn")
        if engine in seen.unranked:
            continue
        hold(room or not free, f"{engine} is free with {seen.load(engine)} tasks")
        hold(
            free == set(queues) or not (room and alive and came),
            f"{engine} has room in {queues} and is free in {free}",
        )
        score = _score(seen.scheme, seen.load(engine), int(about["used"]))
        for queue in free:
            hold(
                score in (None, seen.free[queue][engine]),
                f"{engine} is free with score {seen.free[queue][engine]}, not {score}",
            )
    _check_queues(seen, serving)
    labels = {about["id"]: engine for engine, about in seen.engines.items()}
    for label, engine in seen.labels.items():
        hold(labels.get(label) == engine, f"label {label} is {engine}")
    _check_hidden(seen)
    for label, engine in labels.items():
        alive = seen.leases.get(engine, -1) >= seen.clock
        hold(label in seen.labels or not alive, f"{engine} has lost its label {label}")
    for worker, count in workers.items():
        card = seen.hash(f"worker:{worker}")
        hold(
            not card or int(card.get("engines", 0)) == count,
            f"worker {worker} has {card.get('engines')} engines, not {count}",
        )
    identities = [about["id"] for about in seen.engines.values()]
    hold(len(set(identities)) == len(identities), f"engine ids {identities}")


def _members(seen, name, field):
    """Return letters and ids of a dependency of a task."""
    text = seen.text(name, field)
    if text is None:
        return "", []
    letters, *ids = text.split()
    return letters, ids


def _check_dependencies(seen):
    """Open counters are entries among dependents; who waits waits for something."""
    hold = seen.hold
    entries = Counter(entry for edges in seen.edges.values() for entry in edges)
    for name, edges in seen.edges.items():
        task = seen.tasks.get(name)
        hold(task, f"there is no {name}, but its dependents")
        ended = task and task["state"] in ENDED
        hold(
            not ended or name in seen.unsettled,
            f"{name} has ended and has dependents: {list(edges)[:5]}",
        )
        hold("d" in (task or {}).get("marks", ""), f"{name} has dependents unmarked")
    untold = not seen.unsettled or "u" in seen.hub.get("rare", "")
    hold(untold, "nobody looks who is still to be told")
    for name in seen.unsettled:
        hold(name in seen.tasks, f"{name} is unsettled and no task")
    for name, task in seen.tasks.items():
        if "fn" in task:
            _check_waiting(seen, name, task, entries)


def _check_waiting(seen, name, task, entries):
    hold, open_ = seen.hold, 0
    for letter, field, counter in (("a", "after", "na"), ("f", "follow", "nf")):
        if counter not in task or task["state"] in ENDED:
            continue
        letters, left = task[counter].removesuffix("!").split(":")
        if task[counter].endswith("!"):
            more = {"gate", "start", "nf", "targets", "place", "not", "timeout"}
            hold(not more & task.keys(), f"{name} waits for more than {counter} says")
        open_ += int(left)
        hold(letters == _members(seen, name, field)[0], f"{name}: {field} {letters}")
        told = entries[letter + name]
        hold(int(left) == told, f"{name}: {counter} is {left}, told by {told}")
    gated = "gate" in task
    hold(not gated or entries["g" + name] == 1, f"{name} stands behind no gate")
    if task["state"] == "waiting":
        hold(open_ or gated or "start" in task, f"{name} waits for nothing: {task}")
    elif task["state"] in ENDED:
        # One that ran may end with its follow still open: nobody asks any more.
        odd = {"na", "gate", "start"} & task.keys()
        hold(not odd, f"{name} has ended and has {odd}")
    else:
        # A running one may have been taken along with the last that it waits for.
        along = task["state"] == "running" and task.get("na") == "as:1!"
        hold(along or "na" not in task, f"{name} is {task['state']}: {task}")
        hold(not gated, f"{name} is {task['state']} behind a gate: {task}")
        if along:
            _check_along(seen, name, task)


def _check_along(seen, name, task):
    engine = task["engine"].partition("/")[2]
    held = seen.entries.get(engine, {}).get(name, "").split()
    seen.hold("a" in held[2:], f"{name} was not taken along: {held}")


def _check_refs(seen):
    kept: Counter[str] = Counter()
    for name, task in seen.tasks.items():
        marked = "r" in task.get("marks", "")
        seen.hold(marked == ("refs" in task), f"{name}: refs without mark")
        if marked:
            kept.update(seen.text(name, "refs").split())
    for name, task in seen.tasks.items():
        count = int(task.get("kept", 0))
        seen.hold(
            count == kept[name], f"{name} is kept {count} times, not {kept[name]}"
        )
        marks = task.get("marks", "")
        seen.hold((count > 0) == ("k" in marks), f"{name}: mark k")
        seen.hold("p" not in marks or "k" in marks, f"{name}: put off for nobody")


def _check_timers(seen):
    for member in seen.timers:
        kind, _, name = member.partition(":")
        task = seen.tasks.get(name)
        seen.hold(task, f"timer {member} of no task")
        if not task:
            continue
        state = task["state"]
        fits = {
            "t": state in ("waiting", "ready", "assigned") and "timeout" in task,
            "w": state == "waiting" and "start" in task,
            "g": "fn" not in task and (state == "waiting" or "ttl" not in task),
        }
        seen.hold(fits.get(kind), f"timer {member} of a task that is {task}")
    for name, task in seen.tasks.items():
        state, start = task["state"], "start" in task
        seen.hold(
            not start or f"w:{name}" in seen.timers, f"nobody wakes {name}: {task}"
        )
        counts = state in ("waiting", "ready", "assigned") and not start
        seen.hold(
            not (counts and "timeout" in task) or f"t:{name}" in seen.timers,
            f"the time of {name} does not run out: {task}",
        )
        seen.hold(
            ("timeout" in task) == ("o" in task.get("marks", "")), f"{name}: mark o"
        )
    if seen.timers:
        due = float(seen.hub.get("due", "inf"))
        soonest = min(seen.timers.values())
        seen.hold(due <= soonest, f"nobody comes at {soonest}, planned is {due}")


def admits(name, label):
    """May the engine with this label take tasks of a class?"""
    return not name or has(name[1:], label) == (name[0] == "=")


def _check_classes(seen):
    """Lines of classes are found by the engines that may take from them."""
    rare = seen.hub.get("rare", "")
    placed = [engine for engine in seen.engines if seen.assigned[engine]]
    seen.hold(
        not placed or "a" in rare, f"tasks are placed on {placed}: rare is {rare}"
    )
    counts: Counter[str] = Counter()
    for place, line in seen.ready.items():
        queue, _, name = place.partition(":")
        if not name:
            continue
        counts[queue] += len(line)
        head = min(line.values())
        known = seen.classes.get(queue, {})
        if name == "?":
            seen.hold("c" in rare, "nobody looks for classes")
        elif name in known:
            seen.hold("c" in rare, "nobody looks for classes")
            seen.hold(
                known[name] <= head, f"{place} begins at {head}, known is {known[name]}"
            )
        else:
            seen.hold(name[0] == "=", f"no engine knows of {place}")
            _check_tied(seen, place, name, head)
    seen.hold(+counts == Counter(seen.apart), f"apart {seen.apart}, found {counts}")


def _check_tied(seen, place, name, head):
    for label, engine in seen.labels.items():
        serves = place.partition(":")[0] in seen.engines[engine]["queues"].split(",")
        if not admits(name, int(label)) or not serves:
            continue
        bound = seen.tied[engine].get(place, math.inf)
        seen.hold(bound <= head, f"{engine} does not know of {place}")
        seen.hold("tied" in seen.engines[engine], f"{engine} is not tied")


def _check_owners(seen):
    for name, found in seen.keys.items():
        if not found:
            continue
        if found["of_engine"]:
            seen.hold(found["engine"] in seen.engines, f"{name} of no engine")
        if found["done"] or found["worker"]:
            # In its last half second it has 0 seconds to live.
            seen.hold(seen.ttl[name] >= 0, f"{name} is kept forever")
        if name in ("rows", "runs") or (found["task"] and not found["part"]):
            seen.hold(seen.ttl[name] == -1, f"{name} vanishes")
    seen.hold(seen.ttl["hub"] == -1, "the hub will vanish")


def _check_loads(seen):
    """No engine has more than it may; a lowered hwm drains."""
    if seen.hwm > 0:
        for engine in seen.engines:
            load = seen.load(engine)
            seen.hold(load <= seen.hwm, f"{engine} has {load} of {seen.hwm} tasks")


def _may_have(seen, name, label, task):
    """May the engine with this label take a task from the line of this class?"""
    if name != "?":
        return admits(name, label)
    record = seen.tasks[task]
    only = [seen.text(task, one) for one in ("targets", "place") if one in record]
    return not has(record.get("not", ""), label) and all(
        has(one, label) for one in only
    )


def _check_quiet(seen, away):
    """Nobody is on the way: whoever is to do something has been told."""
    for engine, about in seen.engines.items():
        idle = not seen.held[engine] and int(about["number"]) > 0
        over = seen.leases.get(engine, -1) < seen.clock
        if engine in away or over or not idle or seen.rings(engine):
            continue
        seen.hold(
            not seen.assigned[engine],
            f"{engine} has {list(seen.assigned[engine])} and its bell is silent",
        )
        for place, line in seen.ready.items():
            queue, _, name = place.partition(":")
            stopped = queue in seen.paused or "drained" in about
            if stopped or queue not in about["queues"].split(","):
                continue
            mine = any(
                _may_have(seen, name, int(about["id"]), task)
                and not seen.refuses(about["id"], task)
                for task in line
            )
            seen.hold(not mine, f"{engine} is idle beside {place}: {list(line)}")


def check(redis, root, *, quiet=False, draining=False, away=()):
    """Raise an AssertionError that lists whatever does not hold under ``root``.

    With ``quiet`` no engine is on its way, so an idle one must have been rung
    for what it may do, but for those ``away``. While ``draining``, after hwm was
    lowered, engines may have more than it. Returns what was read.
    """
    seen = Picture(redis.eval(READ, 1, root), root)
    look(seen, quiet=quiet, draining=draining, away=away)
    return seen


def look(seen, *, quiet=False, draining=False, away=()):
    """Check what was read; as ``check``."""
    if not seen.hub:
        seen.hold(not seen.keys, f"there is no hub, but {list(seen.keys)}")
    else:
        _check_indexes(seen)
        for name, task in seen.tasks.items():
            # What was read again unchanged was right before.
            if not seen.before or seen.before.tasks.get(name) is not task:
                _check_record(seen, name, task)
        _check_numbers(seen)
        _check_parts(seen)
        _check_ended(seen)
        _check_functions(seen)
        _check_engines(seen)
        _check_dependencies(seen)
        _check_refs(seen)
        _check_timers(seen)
        _check_classes(seen)
        _check_owners(seen)
        if not draining:
            _check_loads(seen)
        if quiet:
            _check_quiet(seen, away)
    # Nothing is to keep all pictures of a walk.
    seen.before = None
    if seen.wrong:
        raise AssertionError("\n".join(seen.wrong))

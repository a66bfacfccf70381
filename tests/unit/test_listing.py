"""What a listing keeps of the records that it reads."""

from __future__ import annotations

import tracemalloc

from redtask.listing import Finder
from redtask.query import Query
from tests.talks import KEYS, Talk

#: What is stored of each task.
RECORD = {
    "state": "completed",
    "fn": "digest 9",
    "queue": "default",
    "label": "big",
    "submitted": "1000",
    "engine": "0/e",
    "started": "2000",
    "took": "0 1000",
    "repr": "x" * 200,
}


def found(talk, own):
    """Answer a finder's questions about tasks; return what it found.

    ``own`` returns the fields of a task that others have not, or have another value of.
    """
    while not talk.over:
        commands = talk.step.commands
        if commands[0][0] == "HGET" and len(commands) == 1:
            talk.answer([b"double"])
            continue
        replies = []
        for _, _, (_, key) in zip(*[iter(commands)] * 3, strict=True):
            task_id = key.rpartition(":")[2]
            fields = RECORD | own(task_id)
            flat = [word.encode() for pair in fields.items() for word in pair]
            replies += [None, None, flat]
        talk.answer(replies)
    return talk.value


def test_of_many_records_only_what_is_wanted_is_kept():
    ids = [f"c-{at}" for at in range(3000)]
    query = Query.parse({"msg_id": {"$in": ids}})
    finder = Finder(KEYS, query, ["msg_id"])
    talk = Talk(finder.find())

    tracemalloc.start()
    listed = found(talk, lambda _: {})
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert listed == [{"msg_id": one} for one in sorted(ids)]
    assert kept / len(ids) < 1000


def test_a_function_is_looked_up_once_however_many_tasks_call_it():
    ids = [f"c-{at}" for at in range(1200)]
    query = Query.parse({"msg_id": {"$in": ids}}).called("mailing:*")
    talk = Talk(Finder(KEYS, query, ["msg_id", "module"]).find())
    replies = {
        ("HGET", "name"): b"run",
        ("HSTRLEN", "blob"): len("nmailing:run"),
        ("HGET", "blob"): b"nmailing:run",
    }
    fields = [word.encode() for pair in RECORD.items() for word in pair]
    asked = []

    while not talk.over:
        commands = talk.step.commands
        if commands[0][1] == KEYS.function("digest"):
            words = [(verb, part) for verb, _, part in commands]
            asked.append(words)
            talk.answer([replies[one] for one in words])
        else:
            talk.answer([None, None, fields] * (len(commands) // 3))

    assert asked == [[("HGET", "name"), ("HSTRLEN", "blob")], [("HGET", "blob")]]
    assert talk.value == [{"msg_id": one, "module": "mailing"} for one in sorted(ids)]


def test_records_are_in_order_whatever_is_wanted_of_them():
    query = Query.parse({"msg_id": {"$in": ["c-1", "c-2", "c-3"]}})
    times = {
        "c-1": {"submitted": "1001", "took": "0 3000"},
        "c-2": {"submitted": "1000", "took": "0 2000"},
        "c-3": {"submitted": "1001", "took": "0 3000"},
    }

    listed = [
        found(Talk(ask(Finder(KEYS, query, ["msg_id"]))), times.__getitem__)
        for ask in (Finder.find, lambda finder: finder.newest(2))
    ]

    assert [[one["msg_id"] for one in some] for some in listed] == [
        ["c-2", "c-1", "c-3"],
        ["c-3", "c-1"],
    ]

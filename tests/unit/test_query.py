"""Which stored tasks a query means."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from redtask.query import STATES, Query, check_keys

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(milliseconds=1)
EARLIER = NOON - timedelta(days=1)
N = None


# Each operator with operand B: does it hold (1) for less, equal, more, and None?
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("B", "0100"),
        ({"$eq": "B"}, "0100"),
        ({"$ne": "B"}, "1011"),
        ({"$gt": "B"}, "0010"),
        ({"$gte": "B"}, "0110"),
        ({"$lt": "B"}, "1000"),
        ({"$lte": "B"}, "1100"),
        ({"$in": ["B", "A"]}, "1100"),
        ({"$in": []}, "0000"),
        ({"$in": [N, "B"]}, "0101"),
        ({"$nin": ["B", "A"]}, "0011"),
        ({"$nin": []}, "1111"),
        ({"$nin": [N]}, "1110"),
        ({"$exists": True}, "1110"),
        ({"$exists": False}, "0001"),
        (N, "0001"),
        ({"$eq": N}, "0001"),
        ({"$ne": N}, "1110"),
        ({"$gt": "A", "$lt": "C"}, "0100"),
        ({"$gte": "A", "$ne": "B"}, "1010"),
    ],
)
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("label", {"A": "day 1", "B": "day 2", "C": "day 3"}),
        ("submitted", {"A": EARLIER, "B": NOON, "C": LATER}),
        ("engine_id", {"A": 0, "B": 1, "C": 10}),
        ("took", {"A": 0.5, "B": 1.5, "C": 2}),
    ],
)
def test_each_operator_is_what_it_says(key, values, said, expected):
    def filled(one):
        if isinstance(one, dict):
            return {name: filled(inner) for name, inner in one.items()}
        if isinstance(one, list):
            return [filled(inner) for inner in one]
        return values.get(one, one) if isinstance(one, str) else one

    query = Query.parse({key: filled(said)})

    held = [query.holds({key: value}.get) for value in [*values.values(), N]]
    assert "".join(str(int(one)) for one in held) == expected
    assert query.holds({"other": N}.get) is held[-1]


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("day *", "day 1", True),
        ("day ?", "day 12", False),
        ("[ab]*", "b", True),
        ("DAY*", "day 1", False),
        ("*", "", True),
        ("*", None, False),
    ],
)
def test_a_glob_is_as_of_file_names(pattern, value, expected):
    query = Query.parse({"label": {"$glob": pattern}})

    assert query.holds({"label": value}.get) is expected


def test_all_conditions_have_to_hold():
    query = Query.parse({"state": "failed", "label": "a", "tries": {"$gt": 1}})
    record = {"state": "failed", "label": "a", "tries": 2}

    assert query.holds(record.get)
    for key, other in {"state": "ready", "label": "b", "tries": 1}.items():
        assert not query.holds({**record, key: other}.get)


def test_an_empty_query_means_everything():
    assert Query.parse({}).holds({"state": "ready"}.get)
    assert Query.parse({}).states() == list(STATES)


def test_times_are_compared_across_time_zones():
    there = NOON.astimezone(timezone(timedelta(hours=5)))

    assert Query.parse({"submitted": there}).holds({"submitted": NOON}.get)


def test_a_naive_time_is_of_this_machine():
    naive = NOON.astimezone().replace(tzinfo=None)

    assert Query.parse({"submitted": {"$gte": naive}}).holds({"submitted": NOON}.get)
    assert not Query.parse({"submitted": {"$gt": naive}}).holds({"submitted": NOON}.get)


@pytest.mark.parametrize(
    ("query", "kind", "sentence"),
    [
        ([], TypeError, "a query is a dict, not list"),
        ({"color": "red"}, KeyError, "records have no key 'color'"),
        ({"label": {"$like": "x"}}, KeyError, "no operator '\\$like'"),
        ({"label": {"$eq": "x", "y": 1}}, KeyError, "no operator 'y'"),
        ({"label": 7}, TypeError, "label is compared with str, not 7"),
        ({"label": {"$in": "abc"}}, TypeError, r"\$in of label needs a list"),
        ({"label": {"$in": 3}}, TypeError, r"\$in of label needs a list"),
        ({"label": {"$in": [3]}}, TypeError, "label is compared with str, not 3"),
        ({"submitted": 12345}, TypeError, "submitted is compared with datetime"),
        ({"submitted": {"$gt": None}}, TypeError, "something to compare with"),
        ({"submitted": {"$glob": "2*"}}, TypeError, "compares texts, not submitted"),
        ({"label": {"$glob": None}}, TypeError, "compares texts"),
        ({"label": {"$exists": 1}}, TypeError, "needs True or False, not 1"),
        ({"tries": True}, TypeError, "tries is compared with int or float, not True"),
        (
            {"state": "complete"},
            ValueError,
            r"no such state: 'complete' \(there are waiting, ready, assigned, running",
        ),
        ({"state": {"$nin": ["ready", "done"]}}, ValueError, "no such state: 'done'"),
        ({"header": {"$gt": {"a": 1}}}, TypeError, r"\$gt of header: .* no order"),
        ({"execute_input": {"$lte": "x"}}, TypeError, r"\$lte of execute_input: "),
        ({"targets": {"$gte": ["x"]}}, TypeError, r"\$gte of targets: "),
        ({"buffers": {"$exists": True}}, KeyError, "no query looks into 'buffers'"),
        ({"result_buffers": None}, KeyError, "no query looks into 'result_buffers'"),
    ],
)
def test_what_is_no_query_is_an_error_that_names_it(query, kind, sentence):
    with pytest.raises(kind, match=sentence):
        Query.parse(query)


@pytest.mark.parametrize(
    ("query", "states"),
    [
        ({"state": "failed"}, "failed"),
        ({"state": {"$in": ["ready", "running"]}}, "ready running"),
        ({"state": {"$ne": "completed"}},
         "waiting ready assigned running aborted failed"),
        ({"status": "ok"}, "completed"),
        ({"status": None}, "waiting ready assigned running"),
        ({"completed": None}, "waiting ready assigned running"),
        ({"completed": {"$exists": False}, "state": {"$glob": "r*"}}, "ready running"),
        ({"completed": {"$gt": NOON}}, "aborted completed failed"),
        ({"completed": {"$ne": None}, "status": "error"}, "failed"),
        ({"label": "x"}, " ".join(STATES)),
    ],
)  # fmt: skip
def test_only_the_states_in_question_are_looked_at(query, states):
    assert Query.parse(query).states() == states.split()


def test_it_knows_when_only_few_values_are_in_question():
    assert Query.parse({"msg_id": "c-1"}).only("msg_id") == ["c-1"]
    assert Query.parse({"msg_id": {"$in": ["c-1", "c-2"], "$ne": "c-1"}}).only(
        "msg_id"
    ) == ["c-2"]
    assert Query.parse({"msg_id": {"$glob": "c-*"}}).only("msg_id") is None


@pytest.mark.parametrize("name", ["$in", "$nin"])
def test_very_many_values_are_not_compared_one_by_one(name):
    compared = []

    class Word(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            compared.append(other)
            return str.__eq__(self, other)

    query = Query.parse({"msg_id": {name: [Word(f"c-{at}") for at in range(1000)]}})
    query.only("msg_id")
    held = [query.holds({"msg_id": Word(f"c-{at}")}.get) for at in range(500, 1500)]

    assert held == [at < 500 if name == "$in" else at >= 500 for at in range(1000)]
    assert len(compared) < 10_000


def test_the_only_values_are_in_the_order_given_each_once():
    query = Query.parse({"msg_id": {"$in": ["c-3", "c-1", "c-3", "c-2"]}})

    assert query.only("msg_id") == ["c-3", "c-1", "c-2"]


@pytest.mark.parametrize(
    ("key", "value", "others"),
    [
        ("header", {"a": 1}, [{"a": 1}, "text"]),
        ("header", {"a": 1}, ["text", N]),
        ("after", ["c-1"], [["c-1"], N]),
        ("after", ["c-1"], [N]),
        ("took", 2.0, [1, 2]),
    ],
)
def test_a_value_of_any_kind_may_be_among_others(key, value, others):
    among = Query.parse({key: {"$in": others}})
    not_among = Query.parse({key: {"$nin": others}})

    assert among.holds({key: value}.get) is (value in others)
    assert not_among.holds({key: value}.get) is (value not in others)


def test_the_keys_of_a_record_are_checked():
    assert check_keys(None) is None
    assert check_keys("label") == ["msg_id", "label"]
    assert check_keys(["buffers", "msg_id"]) == ["msg_id", "buffers"]
    with pytest.raises(KeyError, match="records have no key 'colour'"):
        check_keys(["label", "colour"])


@pytest.mark.parametrize("keys", [5, b"state", [["x"]], [5], {"state": 1}.items()])
def test_what_names_no_keys_is_refused(keys):
    with pytest.raises(TypeError, match="keys must be names of a record's keys, not"):
        check_keys(keys)

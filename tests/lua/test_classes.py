"""Tasks that not every engine may take: their lines, and who finds them."""

from tests.hubs import ok, unmet


def test_what_a_function_requires_is_known_in_the_turn_that_says_so(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1", "c-2")
    (work,) = hub.take(3, "e")

    refused = unmet(work, by="require")
    taken = hub.turn(4, "e", 1, refused).work

    assert taken == []
    assert hub.record("c-1")["class"] == "!0"


def test_a_queue_whose_tasks_all_have_constraints_stays_one(hub):
    hub.join(1, "e")
    hub.submit(2, "c-1")
    (work,) = hub.take(3, "e")
    hub.report(4, "e", unmet(work))

    hub.gone(5, "e")

    assert hub.redis.hget(hub.key("queues"), "default") == b"0"


def test_an_engine_leaves_whose_class_has_been_emptied_by_another(hub):
    hub.register(1, "e")
    hub.register(1, "f")
    hub.submit(2, "c-1", targets="0-1")
    (work,) = hub.take(3, "e")
    hub.report(4, "e", ok(work))
    hub.gone(5, "e")

    answer = hub.gone(6, "f")

    assert answer.word == "gone"

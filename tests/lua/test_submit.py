"""submit: a slice of tasks enters, all or none."""


def test_a_task_waits_ready_until_an_engine_takes_it(hub):
    assert hub.submit(1, "c-1", "c-2").new == 2
    assert hub.ready() == ["c-1", "c-2"]

    hub.register(2, "e")
    (work,) = hub.take(3, "e")

    assert (work.task_id, work.function, work.args) == ("c-1", "fn", b"args")
    assert (hub.state("c-1"), hub.held("e")) == ("running", ["c-1"])

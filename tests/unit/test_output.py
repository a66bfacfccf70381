"""The streams of tasks: what programs ask of ``sys.stdout``, they get."""

import codecs
import io
import subprocess
import tempfile

import pytest

from redtask.engine.output import Output


@pytest.fixture
def output():
    made = Output(io.StringIO(), io.StringIO())
    made.inside = True
    return made


@pytest.mark.parametrize(
    "wish",
    [{"encoding": "utf-8"}, {"line_buffering": True}, {"errors": "replace"}],
)
def test_a_stream_can_be_reconfigured(output, wish):
    output.stdout.reconfigure(**wish)

    print("né", file=output.stdout)

    assert output.stdout.collect() == "né\n".encode()


def test_a_stream_has_what_the_text_files_of_python_have(output):
    lacking = {
        name
        for name in dir(io.TextIOWrapper)
        if not (name.startswith("_") or hasattr(output.stdout, name))
    }

    assert lacking == set()
    assert output.stdout.mode == "w"
    assert not output.stdout.line_buffering
    assert output.stdout.write_through


@pytest.mark.parametrize("get", [lambda one: one.buffer, lambda one: one.detach()])
def test_a_program_may_wrap_the_binary_layer_itself(output, get):
    wrapped = io.TextIOWrapper(get(output.stdout), encoding="utf-8")
    wrapped.write("né")
    wrapped.close()
    output.stdout.write("!")

    assert output.stdout.collect() == "né!".encode()


def test_the_binary_layer_has_the_descriptor_for_child_processes():
    with tempfile.TemporaryFile("w+", encoding="utf-8") as real:
        output = Output(real, real)

        subprocess.run(
            ["echo", "hello"], stdout=output.stdout.buffer.fileno(), check=True
        )

        real.seek(0)
        assert real.read() == "hello\n"


def test_half_a_character_stays_before_the_text_that_follows(output):
    output.stdout.buffer.write(codecs.BOM_UTF8[:1])
    assert output.stdout.write("z\n") == 2
    output.stdout.buffer.write("é".encode()[:1])
    output.stdout.buffer.write("é".encode()[1:])

    assert output.stdout.collect().decode() == "\ufffdz\né"

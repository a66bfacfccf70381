"""What docs tell as it is seen at a terminal is seen there."""

import shutil

import pytest

from tests import stories
from tests.processes import HOUSE

pytestmark = pytest.mark.acceptance

NIGHT = HOUSE / "docs" / "a-bad-night.rst"
#: Which of these a task is told to have failed for depends on which came first.
RACES = [
    (r"<C>-0(?:104|128|149|173)\b", "<FIT>"),
    (r"<C>-0(?:182|185|191|194)\b", "<REGION>"),
]


@pytest.mark.timeout(300)
def test_the_bad_night_is_as_it_is_told(land, monkeypatch):
    programs = stories.programs(land.folder / "bin")
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    shutil.copy(HOUSE / "docs" / "examples" / "night" / "nightly.py", land.folder)
    story = stories.Story(RACES)

    for command, typed, told in stories.steps(NIGHT):
        seen = stories.run(story.command(command), typed, cwd=land.folder)

        story.check(command, told, seen)

"""What is allowed on the command line is what the job may do."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from flows.options import Leave, Options


@pytest.mark.parametrize("name", [x.name for x in fields(Leave)])
def test_a_leave_that_is_given_reaches_the_job_and_can_be_passed_on(name: str) -> None:
    leave = Leave(**{name: True})
    choices = Options().job(Path("bundle"), leave).choices
    assert [x.name for x in fields(Leave) if getattr(choices, x.name)] == [name]
    assert leave.words == (f"--{name.replace('_', '-')}",)


def test_nothing_is_allowed_unless_it_is_said() -> None:
    choices = Options().job(Path("bundle"), Leave()).choices
    assert not any(getattr(choices, x.name) for x in fields(Leave))
    assert Leave().words == ()

"""A refusal after a lost answer is settled, and no other one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from compass.cluster.once import Lost, passing, settled
from compass.cluster.transport import Exists, Moved
from compass.errors import CompassError, Refused, StepFailed, Transient

Json = dict[str, Any]
THERE = Exists("create", "it", found="already exists")
BUSY = Transient("create", "it", found="busy")
LOST = Lost("create", "it", found="no answer")


def answers(*given: Json | Exception) -> Any:
    """Return what to ask, which answers like this, one after the other."""
    following: Iterator[Json | Exception] = iter(given)

    def ask() -> Json:
        answer = next(following)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def found(refusal: StepFailed) -> Json:
    return {"found after": str(refusal)}


def asked(ask: Any, times: int) -> list[Json | str]:
    """Ask so many times; return each answer, or the name of the error."""
    outcomes: list[Json | str] = []
    for _ in range(times):
        try:
            outcomes.append(ask())
        except CompassError as error:
            outcomes.append(type(error).__name__)
    return outcomes


def test_a_refusal_after_a_lost_answer_is_settled() -> None:
    ask = settled(answers(LOST, BUSY, THERE), found)
    assert asked(ask, 3) == ["Lost", "Transient", {"found after": str(THERE)}]


def test_without_a_lost_answer_a_refusal_stays() -> None:
    assert asked(settled(answers(THERE), found), 1) == ["Exists"]
    assert asked(settled(answers(BUSY, THERE), found), 2) == ["Transient", "Exists"]


def test_what_comes_after_a_lost_answer_and_is_no_refusal_of_the_change_stays() -> None:
    assert asked(settled(answers(LOST, {"a": 1}), found), 2) == ["Lost", {"a": 1}]
    assert asked(settled(answers(LOST, Refused("create", "it")), found), 2) == ["Lost", "Refused"]


def test_two_changes_know_nothing_of_each_other() -> None:
    assert asked(settled(answers(LOST), found), 1) == ["Lost"]
    assert asked(settled(answers(THERE), found), 1) == ["Exists"]


def test_refusals_of_some_kinds_are_told_as_passing() -> None:
    ask = passing(answers(Moved("apply", "it", found="moved"), StepFailed("apply", "it"), {"a": 1}), (Moved,))
    with pytest.raises(Transient, match="apply it: moved"):
        ask()
    assert asked(ask, 2) == ["StepFailed", {"a": 1}]

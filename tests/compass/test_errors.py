"""Errors say what happened to what, survive a pickle, and end the command with their family's status."""

import copy
import pickle

import pytest

from compass.errors import CompassError, InvalidInput, Refused, StepFailed, Transient, exit_status

FAMILIES = {InvalidInput: 2, Refused: 4, Transient: 1, StepFailed: 1}


@pytest.mark.parametrize(("family", "status"), FAMILIES.items())
def test_a_family_has_its_exit_status(family: type[CompassError], status: int) -> None:
    assert exit_status(family("do", "it")) == status


def test_any_other_error_is_a_failure() -> None:
    assert exit_status(ValueError("x")) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_survives_a_pickle(family: type[CompassError]) -> None:
    error = family("read", "file", found="a", expected="b", do="c")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is family
    assert (back.did, back.subject, back.found, back.expected, back.do) == ("read", "file", "a", "b", "c")
    assert str(back) == str(error)


def test_every_kind_of_error_survives_a_pickle() -> None:
    from compass.cluster.client import Conflict

    error = Conflict("apply", "Service/a/b", [("kubectl", ".spec")])
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is Conflict
    assert (str(back), back.causes) == (str(error), error.causes)


class Odd(StepFailed):
    """An error whose words are not those of its family."""

    def __init__(self, *, number: int) -> None:
        super().__init__("count", found=number)
        self.number = number


def test_an_error_with_words_of_its_own_survives_too() -> None:
    for back in (pickle.loads(pickle.dumps(Odd(number=3))), copy.copy(Odd(number=3))):
        assert type(back) is Odd
        assert (str(back), back.number) == ("count: 3", 3)


def test_when_to_come_back_survives_a_pickle_and_the_report_stays() -> None:
    error = Transient("ask", "it")
    error.retry_after_seconds = 7.0
    error.report = object()
    back = pickle.loads(pickle.dumps(error))
    assert back.retry_after_seconds == 7.0
    assert back.report is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidInput("read", "a", found="b", expected="c", do="d"), "read a: b, expected c; d"),
        (InvalidInput("read", "a", found="b"), "read a: b"),
        (InvalidInput("read", "a", expected="c"), "read a: expected c"),
        (InvalidInput("read", "a", do="d"), "read a; d"),
        (InvalidInput("read"), "read"),
        (InvalidInput("wait", found=3), "wait: 3"),
    ],
)
def test_only_the_parts_that_are_given_are_said(error: CompassError, text: str) -> None:
    assert str(error) == text

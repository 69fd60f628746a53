"""Only what may pass is asked again, for as long as was said."""

import time

import pytest

from compass.errors import InvalidInput, Refused, StepFailed, Transient
from compass.patience import patiently


class Side:
    """Another side that fails so many times, with one error, before it answers."""

    def __init__(self, times: int, error: Exception) -> None:
        self.times, self.error, self.asked = times, error, 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.times:
            raise self.error
        return "answer"


def soon() -> Transient:
    error = Transient("ask", "it")
    error.retry_after_seconds = 0.01
    return error


def test_what_passes_is_asked_again() -> None:
    side = Side(2, soon())
    assert patiently(side) == "answer"
    assert side.asked == 3


def test_a_server_says_when_to_come_back() -> None:
    began = time.monotonic()
    patiently(Side(3, soon()))
    assert time.monotonic() - began < 0.7, "three tries at our own pace would take longer"


@pytest.mark.parametrize("family", [InvalidInput, Refused, StepFailed, ValueError])
def test_what_stays_is_asked_once(family: type[Exception]) -> None:
    side = Side(1, family("no"))
    with pytest.raises(family):
        patiently(side)
    assert side.asked == 1


def test_patience_ends_with_the_error_itself() -> None:
    side, began = Side(10_000, soon()), time.monotonic()
    with pytest.raises(Transient, match="ask it"):
        patiently(side, 0.3)
    assert side.asked > 1
    assert time.monotonic() - began < 3


def test_only_what_goes_on_is_told_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    patiently(Side(2, soon()))
    assert not [x for x in caplog.records if x.levelname == "WARNING"]
    patiently(Side(4, soon()))
    assert [x.getMessage() for x in caplog.records if x.levelname == "WARNING"] == ["asking again: ask it"] * 2


def test_without_patience_it_is_asked_once() -> None:
    side = Side(1, soon())
    with pytest.raises(Transient):
        patiently(side, 0)
    assert side.asked == 1

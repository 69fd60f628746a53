"""A change is made once, however often it is asked for: what a refusal means after an answer was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compass.errors import StepFailed, Transient

Ask = Callable[[], dict[str, Any]]


class Lost(Transient):
    """There was no answer, or one that tells of trouble only: what was asked for may have been done all the same."""


def settled(ask: Ask, settle: Callable[[StepFailed], dict[str, Any]]) -> Ask:
    """Return ``ask`` as ``patiently`` may call it for a change.

    When the server refuses what an earlier call may have done already, ``settle`` decides: it returns the answer that
    was lost, or raises.  Every other refusal is raised as it is.
    """
    lost = False

    def again() -> dict[str, Any]:
        nonlocal lost
        try:
            return ask()
        except Lost:
            lost = True
            raise
        except StepFailed as refusal:
            if not lost:
                raise
            return settle(refusal)

    return again


def passing(ask: Ask, kinds: tuple[type[StepFailed], ...]) -> Ask:
    """Return ``ask`` with refusals of these kinds as ``Transient``: they pass by themselves."""

    def again() -> dict[str, Any]:
        try:
            return ask()
        except kinds as refusal:
            raise Transient(refusal.did, refusal.subject, found=refusal.found) from None

    return again

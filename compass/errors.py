"""The four families of errors; the family alone decides on a retry and on the exit status.

::

    CompassError
    ├── InvalidInput   the file or the flag is wrong: never retried, exit status 2
    ├── Refused        right, but not now or not allowed: never retried, exit status 4
    ├── Transient      ask again later: retried with back-off and jitter, exit status 1 when it stays
    └── StepFailed     the cluster, the registry or the disk said no: not retried, exit status 1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

#: What became of a changed cluster after a failure; empty where nothing had been changed, or nothing was to be undone.
Aftermath = Literal["", "rolled back", "not rolled back"]


class CompassError(Exception):
    """Say what we did, to what, what was found, what was expected, and what to do.

    Printed as ``did subject: found, expected X; do``; parts that are not given are left out.  ``report`` is what a
    run had to tell when it ended with this error; it does not survive pickling.  ``aftermath`` is what became of a
    cluster that had been changed by then.
    """

    report: Any = None
    aftermath: Aftermath = ""

    def __init__(
        self, did: str, subject: object = "", *, found: object = "", expected: object = "", do: str = ""
    ) -> None:
        self.did, self.subject, self.found, self.expected, self.do = did, str(subject), str(found), str(expected), do
        super().__init__(self._text())

    def _text(self) -> str:
        head = f"{self.did} {self.subject}".strip()
        facts = ", ".join(x for x in (self.found, f"expected {self.expected}" if self.expected else "") if x)
        text = f"{head}: {facts}" if facts else head
        return f"{text}; {self.do}" if self.do else text

    def __reduce__(self) -> tuple[Callable[..., CompassError], tuple[Any, ...], dict[str, Any]]:
        # Prefect carries exceptions between processes; neither keyword-only arguments nor those of the kinds
        # derived from this one survive the default.
        words = (self.did, self.subject, self.found, self.expected, self.do)
        return _rebuild, (type(self), *words), {k: v for k, v in vars(self).items() if k != "report"}


def _rebuild(kind: type[CompassError], did: str, subject: str, found: str, expected: str, do: str) -> CompassError:
    error = kind.__new__(kind)
    CompassError.__init__(error, did, subject, found=found, expected=expected, do=do)
    return error


class InvalidInput(CompassError):
    """The file or the flag is wrong; asking again gives the same answer."""


class Refused(CompassError):
    """The request is right, but not now or not without leave: locked, protected, not approved."""


class Transient(CompassError):
    """The other side did not answer, or said that it cannot just now."""

    retry_after_seconds: float | None = None


class StepFailed(CompassError):
    """The cluster, the registry or the disk said no."""


EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_INVALID = 2
EXIT_DIFFERENT = 3
EXIT_REFUSED = 4
EXIT_ROLLED_BACK = 5
EXIT_NOT_ROLLED_BACK = 6
_AFTERMATH = {"rolled back": EXIT_ROLLED_BACK, "not rolled back": EXIT_NOT_ROLLED_BACK}


def exit_status(error: BaseException) -> int:
    """Return the exit status that an error ends the command with."""
    if isinstance(error, CompassError) and error.aftermath:
        return _AFTERMATH[error.aftermath]
    if isinstance(error, InvalidInput):
        return EXIT_INVALID
    if isinstance(error, Refused):
        return EXIT_REFUSED
    return EXIT_FAILED


def shared_status(errors: Sequence[BaseException]) -> int:
    """Return the exit status of several errors: the one that they share, else 1; 0 when there are none."""
    statuses = {exit_status(x) for x in errors}
    return statuses.pop() if len(statuses) == 1 else EXIT_FAILED if statuses else EXIT_DONE

"""Which request meets which fault: said by rules, or drawn from a seed."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Delay:
    """Pass the request on after some seconds."""

    seconds: float


@dataclass(frozen=True)
class Reset:
    """Break the connection.

    ``request``: the server never heard of it.  ``request body``: the server got the first half of the body.
    ``answer``: the server did what was asked, and its answer is lost.  ``answer body``: the client gets the first
    half of the answer's body (of its first piece, where the length is not said).  What has no body to break breaks
    before it: as ``request``, as ``answer``.
    """

    at: Literal["request", "request body", "answer", "answer body"] = "request"


@dataclass(frozen=True)
class Say:
    """Answer with an error, in the words of a server of that kind; ``done``: the server did first what was asked."""

    status: int
    retry_after_seconds: int | None = None
    done: bool = False


@dataclass(frozen=True)
class Hang:
    """Answer nothing for some seconds, then break the connection; ``done``: the server did what was asked."""

    seconds: float
    done: bool = False


@dataclass(frozen=True)
class Leave:
    """Be away from this request on, for some seconds or (``None``) until ``FaultProxy.come_back``.

    Connections break and new ones are refused; ``silent``: they are taken, and nothing moves on any of them.
    """

    seconds: float | None = None
    silent: bool = False


Action = Delay | Reset | Say | Hang | Leave


@dataclass(frozen=True)
class Fault:
    """A rule: what happens to which requests.

    ``method`` and ``path`` are regular expressions, the first for the whole method, the second found anywhere in
    path and query; empty is any.  Of the requests that match, ``nth`` (from 1) is met alone, else each one with
    ``probability``; ``times`` is how often at most.
    """

    action: Action
    method: str = ""
    path: str = ""
    nth: int | None = None
    probability: float = 1.0
    times: int | None = None

    def matches(self, method: str, target: str) -> bool:
        """Tell whether the rule is about a request."""
        return (not self.method or bool(re.fullmatch(self.method, method))) and bool(re.search(self.path, target))


class FaultPlan:
    """Decides what each request meets: the first rule that holds, else by chance.

    ``rate`` is the chance of a request to meet a fault that a real server or line could show it, ``most`` how many
    of those there are at most.  All chance comes from ``seed`` and how many requests of the same method and path came
    before, so that a run with the same seed meets the same faults as far as its requests are the same.  May be shared
    by several proxies and threads.
    """

    def __init__(self, *faults: Fault, seed: int = 0, rate: float = 0.0, most: int | None = None) -> None:
        self._faults, self._seed, self._rate, self._most = faults, seed, rate, most
        self._lock = threading.Lock()
        self._ordinals: Counter[str] = Counter()
        self._matched: Counter[int] = Counter()
        self._met: Counter[int] = Counter()
        self._drawn = 0

    @classmethod
    def random(cls, seed: int, rate: float, *, most: int | None = None) -> FaultPlan:
        """Return a plan without rules."""
        return cls(seed=seed, rate=rate, most=most)

    def meet(self, method: str, target: str) -> Action | None:
        """Return what happens to the next request, and count it."""
        with self._lock:
            key = _key(method, target)
            self._ordinals[key] += 1
            chance = f"{self._seed} {key} {self._ordinals[key]}"
            for number, fault in enumerate(self._faults):
                if fault.matches(method, target) and self._holds(number, fault, Random(f"{chance} {number}")):
                    return fault.action
            random = Random(chance)
            if random.random() >= self._rate or self._drawn == self._most:
                return None
            self._drawn += 1
            return draw(random, method, target)

    def _holds(self, number: int, fault: Fault, random: Random) -> bool:
        self._matched[number] += 1
        if fault.nth not in (None, self._matched[number]) or self._met[number] == fault.times:
            return False
        holds = random.random() < fault.probability
        self._met[number] += holds
        return holds


def draw(random: Random, method: str, target: str) -> Action:
    """Return a fault that a real server, or the line to it, could show a request."""
    return random.choice([make for may, make in _CHANCES if may(method, target)])(random)


def _key(method: str, target: str) -> str:
    """Return what is the same in the same request of another run."""
    path, _, query = target.partition("?")
    return f"{method} {_UUID.sub('*', path)}{'?dryRun' if 'dryRun' in query else ''}"


def _any(method: str, target: str) -> bool:
    return True


def _changes(method: str, target: str) -> bool:
    return method in ("POST", "PUT", "PATCH", "DELETE")


def _may_conflict(method: str, target: str) -> bool:
    return method in ("PUT", "PATCH") and target.startswith("/api")


def _may_expire(method: str, target: str) -> bool:
    return method == "GET" and target.startswith("/api") and ("continue=" in target or "watch=" in target)


_CHANCES: tuple[tuple[Callable[[str, str], bool], Callable[[Random], Action]], ...] = (
    (_any, lambda random: Delay(random.uniform(0.05, 1.0))),
    (_any, lambda random: Reset("request")),
    (_changes, lambda random: Reset("request body")),
    (_any, lambda random: Reset("answer")),
    (_any, lambda random: Reset("answer body")),
    (_any, lambda random: Say(429, retry_after_seconds=1)),
    (_any, lambda random: Say(500)),
    (_any, lambda random: Say(503, retry_after_seconds=random.choice((None, 1)))),
    (_changes, lambda random: Say(random.choice((500, 503, 504)), done=True)),
    (_may_conflict, lambda random: Say(409)),
    (_may_expire, lambda random: Say(410)),
    (_any, lambda random: Hang(random.uniform(0.2, 1.5), done=random.random() < 0.5)),
    (_any, lambda random: Leave(random.uniform(0.2, 2.0), silent=random.random() < 0.5)),
)

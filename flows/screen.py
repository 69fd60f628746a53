"""What a person sees while and after a verb runs: progress on standard error, results on standard output."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from compass.markdown import size_text
from compass.progress import Pace

Output = Literal["text", "json"]
PLAIN_EVERY_SECONDS = 5.0
COUNTED_EVERY_SECONDS = 600.0
WIDE = 4096


_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def _plain(text: str, style: str = "") -> Text:
    """Return a text without what would steer the terminal: much of it comes from clusters and files."""
    return Text(text.translate(_CONTROL), style=style)


class Screen:
    """Standard output for results, standard error for everything else."""

    def __init__(self, output: Output = "text", *, quiet: bool = False, verbose: bool = False) -> None:
        self.output, self.quiet, self.verbose = output, quiet, verbose
        self.out = Console(soft_wrap=True, highlight=False)
        if not self.out.is_terminal:
            self.out = Console(soft_wrap=True, highlight=False, width=WIDE)  # a file has no edge to fold at
        self.err = Console(stderr=True, soft_wrap=True, highlight=False)
        self._bars = Bars(self.err)
        self._counted = -math.inf

    def result(self, value: Any, text: Callable[[], None]) -> None:
        """Show a result: ``value`` as JSON, or what ``text`` prints."""
        self._bars.clear()
        if self.output == "json":
            # What the output cannot encode is escaped as JSON has it.
            is_ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
            sys.stdout.write(json.dumps(value, ensure_ascii=is_ascii, indent=2) + "\n")
        else:
            text()

    def ask(self, question: str) -> bool:
        """Ask the person at the terminal; everything but yes is no."""
        self._bars.clear()
        self.err.print(_plain(f"{question}? [y/N] "), end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def say(self, text: str, style: str = "") -> None:
        """Print a line of a result."""
        self.out.print(_plain(text, style))

    def tell(self, text: str, style: str = "") -> None:
        """Print a line that is no result, unless all shall be quiet."""
        if not self.quiet:
            self._bars.clear()
            self.err.print(_plain(text, style))

    def countdown(self, what: str, seconds_left: float) -> None:
        """Show how long is left until something: a line that changes on a terminal, else a line every ten minutes."""
        if self.quiet:
            return
        text = f"{what}: {time_text(seconds_left)} left"
        if self.err.is_terminal:
            self.err.print(_plain(f"{text}   "), end="\r")
        elif time.monotonic() - self._counted > COUNTED_EVERY_SECONDS:
            self._counted = time.monotonic()
            self.tell(text)

    def fail(self, text: str) -> None:
        """Print why the verb failed, whatever the settings."""
        self._bars.clear()
        self.err.print(_plain(f"error: {text}", "bold red"))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table of a result."""
        shown = Table(box=None, pad_edge=False, header_style="bold")
        for name in head:
            shown.add_column(name, overflow="fold")
        for row in rows:
            shown.add_row(*(_plain(str(x)) for x in row))
        self.out.print(shown)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], LiveProgress | PlainProgress]]:
        """Give what makes the progress of a label (a cluster's name, or empty); the bars go when the block ends."""
        if self.quiet or not self.err.is_terminal:
            yield lambda label: PlainProgress(self.tell, label)
            return
        try:
            yield lambda label: LiveProgress(self._bars, label)
        finally:
            self._bars.clear()


class Bars:
    """The bars on a terminal: there from the first count on, gone whenever something else is written."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: Progress | None = None
        self._lock = threading.Lock()

    def current(self) -> Progress:
        """Return the bars that are on the screen, new ones when there are none."""
        with self._lock:
            if self._shown is None:
                # The bar takes what the words leave of the line.
                whole = [Column(no_wrap=True) for _ in range(2)]
                columns = (
                    TextColumn("{task.description}"), BarColumn(None), _Count(whole[0]), TimeElapsedColumn(whole[1])
                )  # fmt: skip
                self._shown = Progress(*columns, console=self._console, transient=True, expand=True)
                self._shown.start()
            return self._shown

    def clear(self) -> None:
        """Take the bars off the screen."""
        with self._lock:
            if self._shown is not None:
                self._shown.stop()
                self._shown = None


class _Count(ProgressColumn):
    """How much is done, in bytes with rate and time left, or in objects."""

    def render(self, task: Task) -> Text:
        total, done = int(task.total or 0), int(task.completed)
        if task.fields.get("unit") != "bytes":
            return Text(f"{done} of {total}")
        return Text(bytes_text(done, total, task.speed or 0.0, task.time_remaining))


def bytes_text(done: int, total: int, rate: float, seconds_left: float | None) -> str:
    """Return a count of bytes with its rate and the time left, as far as they can be told."""
    text = f"{size_text(done)} of {size_text(total)}"
    if rate > 0 and done < total:
        text += f", {size_text(int(rate))}/s"
        text += f", {time_text(seconds_left)} left" if seconds_left is not None else ""
    return text


def time_text(seconds: float) -> str:
    """Return a time as people say it, in two units at most: ``50 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass
class Counted:
    """One count and the bar that shows it."""

    unit: str
    total: int = 0
    done: int = 0
    bar: tuple[Progress, TaskID] | None = None


class LiveProgress:
    """Progress as bars on a terminal."""

    def __init__(self, bars: Bars, label: str) -> None:
        self._bars, self._label = bars, label
        self._counts: dict[str, Counted] = {}
        self._lock = threading.Lock()

    def begin(self, what: str, total: int, unit: str) -> None:
        """Show a bar, or let it grow."""
        with self._lock:
            count = self._counts.setdefault(what, Counted(unit))
            count.total = max(total, count.total)
            self._show(what, count)

    def advance(self, what: str, amount: int) -> None:
        """Move the bar on."""
        with self._lock:
            self._counts[what].done += amount
            self._show(what, self._counts[what])

    def _show(self, what: str, count: Counted) -> None:
        if not count.total:
            return
        bars = self._bars.current()
        if count.bar is None or count.bar[0] is not bars:
            text = f"{self._label}: {what}" if self._label else what
            count.bar = (bars, bars.add_task(text, total=count.total, unit=count.unit))
        bars.update(count.bar[1], total=count.total, completed=count.done)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.current().console.print(_plain(text))


class PlainProgress:
    """Progress as lines, where there is no terminal: the end of each count, and every few seconds on the way."""

    def __init__(self, tell: Callable[[str], None], label: str) -> None:
        self._tell, self._label = tell, label
        self._counts: dict[str, list[int]] = {}
        self._units: dict[str, str] = {}
        self._paces: dict[str, Pace] = {}
        self._told = time.monotonic()
        self._lock = threading.Lock()

    def begin(self, what: str, total: int, unit: str) -> None:
        """Start a count, or let it grow."""
        with self._lock:
            count = self._counts.setdefault(what, [0, 0])
            count[1] = max(total, count[1])
            self._units[what] = unit
            self._paces.setdefault(what, Pace(time.monotonic)).reach(count[0])

    def advance(self, what: str, amount: int) -> None:
        """Count, and tell at the end and every few seconds."""
        with self._lock:
            count = self._counts[what]
            was_done = count[0] >= count[1]
            count[0] += amount
            done = count[0] >= count[1] and not was_done
            if not done and time.monotonic() - self._told < PLAIN_EVERY_SECONDS:
                return
            self._told = time.monotonic()
            line = self._line(what, *count)
        self._tell(line)

    def _line(self, what: str, done: int, total: int) -> str:
        pace = self._paces[what]
        pace.reach(done)
        label = f"{self._label}: " if self._label else ""
        if self._units[what] != "bytes":
            return f"{label}{what}: {done} of {total}"
        return f"{label}{what}: {bytes_text(done, total, pace.rate, pace.seconds_left(total))}"

    def note(self, text: str) -> None:
        """Print a line."""
        self._tell(f"{self._label}: {text}" if self._label else text)

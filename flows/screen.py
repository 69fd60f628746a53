"""What a person sees while and after a verb runs: progress on standard error, results on standard output."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from compass.markdown import size_text

Output = Literal["text", "json"]
PLAIN_EVERY_SECONDS = 5.0
WIDE = 4096


class Screen:
    """Standard output for results, standard error for everything else."""

    def __init__(self, output: Output = "text", *, quiet: bool = False, verbose: bool = False) -> None:
        self.output, self.quiet, self.verbose = output, quiet, verbose
        self.out = Console(soft_wrap=True, highlight=False)
        if not self.out.is_terminal:
            self.out = Console(soft_wrap=True, highlight=False, width=WIDE)  # a file has no edge to fold at
        self.err = Console(stderr=True, soft_wrap=True, highlight=False)

    def result(self, value: Any, text: Callable[[], None]) -> None:
        """Show a result: ``value`` as JSON, or what ``text`` prints."""
        if self.output == "json":
            sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
        else:
            text()

    def say(self, text: str, style: str = "") -> None:
        """Print a line of a result."""
        self.out.print(Text(text, style=style))

    def tell(self, text: str, style: str = "") -> None:
        """Print a line that is no result, unless all shall be quiet."""
        if not self.quiet:
            self.err.print(Text(text, style=style))

    def fail(self, text: str) -> None:
        """Print why the verb failed, whatever the settings."""
        self.err.print(Text(f"error: {text}", style="bold red"))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table of a result."""
        shown = Table(box=None, pad_edge=False, header_style="bold")
        for name in head:
            shown.add_column(name, overflow="fold")
        for row in rows:
            shown.add_row(*(Text(str(x)) for x in row))
        self.out.print(shown)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], LiveProgress | PlainProgress]]:
        """Give what makes the progress of a label (a cluster's name, or empty)."""
        if self.quiet or not self.err.is_terminal:
            yield lambda label: PlainProgress(self.tell, label)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), _Count(), TimeElapsedColumn())
        with Progress(*columns, console=self.err, transient=True) as bars:
            yield lambda label: LiveProgress(bars, label)


class _Count(ProgressColumn):
    """How much is done, in bytes with rate and time left, or in objects."""

    def render(self, task: Task) -> Text:
        total, done = int(task.total or 0), int(task.completed)
        if task.fields.get("unit") != "bytes":
            return Text(f"{done} of {total}")
        rate = f" {size_text(int(task.speed))}/s" if task.speed else ""
        left = f", {task.time_remaining:.0f} s left" if task.time_remaining is not None and task.speed else ""
        return Text(f"{size_text(done)} of {size_text(total)}{rate}{left}")


class LiveProgress:
    """Progress as bars on a terminal."""

    def __init__(self, bars: Progress, label: str) -> None:
        self._bars, self._label = bars, label
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}
        self._lock = threading.Lock()

    def begin(self, what: str, total: int, unit: str) -> None:
        """Show a bar, or let it grow."""
        with self._lock:
            self._totals[what] = max(total, self._totals.get(what, 0))
            if what in self._tasks:
                self._bars.update(self._tasks[what], total=self._totals[what])
                return
            text = f"{self._label}: {what}" if self._label else what
            self._tasks[what] = self._bars.add_task(text, total=total, unit=unit)

    def advance(self, what: str, amount: int) -> None:
        """Move the bar on."""
        with self._lock:
            self._bars.advance(self._tasks[what], amount)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(Text(text))


class PlainProgress:
    """Progress as lines, where there is no terminal: the end of each count, and every few seconds on the way."""

    def __init__(self, tell: Callable[[str], None], label: str) -> None:
        self._tell, self._label = tell, label
        self._counts: dict[str, list[int]] = {}
        self._units: dict[str, str] = {}
        self._told = time.monotonic()
        self._lock = threading.Lock()

    def begin(self, what: str, total: int, unit: str) -> None:
        """Start a count, or let it grow."""
        with self._lock:
            count = self._counts.setdefault(what, [0, 0])
            count[1] = max(total, count[1])
            self._units[what] = unit

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
            show = size_text if self._units[what] == "bytes" else str
            label = f"{self._label}: " if self._label else ""
            line = f"{label}{what}: {show(count[0])} of {show(count[1])}"
        self._tell(line)

    def note(self, text: str) -> None:
        """Print a line."""
        self._tell(f"{self._label}: {text}" if self._label else text)

"""How far some long work is: a bar with the remaining time in a terminal, plain lines in a log."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from contrastmask.runtime.terminal import duration

SAY_EVERY_S = 10.0


class Progress:
    """A context manager; call `update` as the work goes on.

    Args:
        unit: what is counted, such as "iteration" or "image".
        total: how many there are.
        done: how many were done before this process started.
        console: where to write; standard output by default.
    """

    def __init__(self, unit: str, total: int, done: int = 0, console: Console | None = None) -> None:
        self.unit, self.total, self.first = unit, total, done
        self.console = console or Console()
        self.bar: Bar | None = None
        self.started, self.said = time.monotonic(), -SAY_EVERY_S

    def __enter__(self) -> "Progress":
        self.started = time.monotonic()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.bar = Bar(
                "{task.description}",
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=self.console,
            )
            self.bar.add_task(self.unit, total=self.total, completed=self.first, text="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def update(self, done: int, text: str = "") -> None:
        """`done` of all are done; `text` says more, such as the loss. A log gets a line every 10 s and the last."""
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=done, text=text)
            return
        now = time.monotonic()
        if now - self.said < SAY_EVERY_S and done < self.total:
            return
        self.said = now
        left = (self.total - done) * (now - self.started) / max(done - self.first, 1)
        parts = (f"{self.unit} {done}/{self.total}", text, f"{duration(left)} left")
        print("  ".join(filter(None, parts)), file=self.console.file, flush=True)

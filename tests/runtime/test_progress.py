"""Lines in a log, a bar in a terminal."""

import io
import re

import pytest
from rich.console import Console

from contrastmask.runtime import progress
from contrastmask.runtime.progress import Progress


def test_a_log_gets_the_first_a_line_every_10_s_and_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    out = io.StringIO()
    with Progress("iteration", 100, done=50, console=Console(file=out)) as shown:
        for done in range(51, 101):
            now += 1
            shown.update(done, f"loss {done}")
    lines = out.getvalue().splitlines()
    assert lines[0] == "iteration 51/100  loss 51  49 s left"
    assert lines[1] == "iteration 61/100  loss 61  39 s left"
    assert lines[-1] == "iteration 100/100  loss 100  0 s left"
    assert len(lines) == 6


def test_a_terminal_gets_a_bar_with_the_text_and_no_lines() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, color_system=None, _environ={})
    with Progress("image", 3, console=console) as shown:
        for done in (1, 2, 3):
            shown.update(done, "loss [0.5]")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "image" in text and "3/3" in text and "loss [0.5]" in text
    assert "image 3/3  " not in text
    assert shown.bar is None


def test_a_bar_ends_when_the_work_fails() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={})
    shown = Progress("image", 3, console=console)
    with pytest.raises(ZeroDivisionError), shown:
        raise ZeroDivisionError
    assert shown.bar is None

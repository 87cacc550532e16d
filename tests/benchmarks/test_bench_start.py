"""What a newcomer waits for, as far as it can be said without waiting."""

import sys

import pytest

from benchmarks import bench_start


def test_a_table_has_the_median_and_the_spread() -> None:
    table = bench_start.as_table({"a": [3.0, 1.0, 2.0], "b": []})
    assert "| a | 2.00 | 1.00 to 3.00 | 3 |" in table and "| b | – | – | 0 |" in table


def test_a_command_is_timed_on_the_clock_or_in_cpu_time() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(0.2)"]
    assert bench_start.seconds(sleep) >= 0.2 and bench_start.seconds(sleep, cpu=True) > 0


def test_a_command_that_fails_has_no_time() -> None:
    with pytest.raises(bench_start.CommandFailed, match="went wrong"):
        bench_start.seconds([sys.executable, "-c", "raise SystemExit('went wrong')"])


def test_everything_is_measured_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_start, "seconds", lambda *command, **given: 2.0)
    monkeypatch.setattr(bench_start, "from_nothing", lambda targets: [1.0 for _ in targets])
    monkeypatch.setattr(bench_start, "nothing_is_left", lambda: False)
    times = bench_start.measured(2, 1, ["tables"])
    assert [len(values) for values in times.values()] == [1, 1, 2, 2, 0, 1]

"""The spool against arbitrary content, torn lines and full disks."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrastmask.tracking.spool import Spool, encode

NAMES = st.from_regex(r"[/\w.\- ]{1,12}", fullmatch=True)
COUNTS = st.integers(0, 2**53)
TAGS = st.fixed_dictionaries(
    {"event": st.just("tags"), "time": COUNTS, "values": st.dictionaries(NAMES, st.text(), max_size=4)}
)
METRICS = st.fixed_dictionaries(
    {
        "event": st.just("metrics"),
        "time": COUNTS,
        "step": COUNTS,
        "values": st.dictionaries(NAMES, st.floats() | COUNTS, max_size=4),
    }
)
EVENTS = st.lists(TAGS | METRICS, max_size=8)


def tag(n: int) -> dict:
    return {"event": "tags", "time": 0, "values": {"n": str(n)}}


def events_of(spool: Spool) -> list[dict]:
    return [event for event, _ in spool.read() if event is not None]


def as_json(events: list[dict]) -> list[dict]:
    """What JSON can hold of these events."""
    return [
        {**event, "values": {k: encode(v) if isinstance(v, float) else v for k, v in event["values"].items()}}
        for event in events
    ]


@settings(max_examples=80, deadline=None)
@given(events=EVENTS, cut=st.floats(0, 1), more=EVENTS)
def test_round_trip_and_any_truncation(events: list[dict], cut: float, more: list[dict]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "tracking.jsonl")
        for event in as_json(events):
            spool.append(event)
        assert events_of(spool) == as_json(events)

        content = spool.path.read_bytes() if events else b""
        size = round(cut * len(content))
        whole = content[:size].count(b"\n")
        spool.path.write_bytes(content[:size])
        assert events_of(spool) == as_json(events[:whole])
        spool.state()

        again = Spool(spool.path)
        again.heal()
        for event in as_json(more):
            again.append(event)
        kept = events_of(again)
        # A cut just before a line's end leaves a whole object, which healing brings back.
        assert kept in (as_json(events[:whole] + more), as_json(events[: whole + 1] + more))


@settings(max_examples=200)
@given(value=st.floats())
def test_every_float_comes_back_exactly(value: float) -> None:
    back = float(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "tracking.jsonl")
    spool.append(tag(1))
    with spool.path.open("ab") as file:
        file.write(b'\0\0\0\n[1]\n\xff\xfe\n{}\n{"event": "tags", "time": 0, "values": {"n": 1}}\n')
    spool.append(tag(2))
    assert [event["values"]["n"] for event in events_of(spool)] == ["1", "2"]


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    spool = Spool(tmp_path / "tracking.jsonl")
    write, room = os.write, 40

    def short_write(fd: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = write(fd, data[:room])
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", short_write)
    for n in range(3):
        spool.append(tag(n))
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    room = 10_000
    spool.append(tag(3))
    assert [event["values"]["n"] for event in events_of(spool)] == ["0", "1", "2", "3"]

"""Bad files, thousands of them, through the project's own entry points: python -m faults.fuzz COPY RESULTS COUNTS SEED

Runs in a copy of the project (configs/ is written to), on a copy of finished results. COUNTS: JSON, inputs of each
target. Prints a JSON line a target; exit code 1 and every distinct failure if a traceback would have reached a person,
something hung, or something wrong was taken for right.
"""

import contextlib
import faulthandler
import io
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

LONGEST_S = 60
MOST_MEMORY = 8 * 2**30  # bytes of address space, most of it torch's libraries
Target = Callable[[Random], bool]


class Wrong(AssertionError):
    """What must not happen."""


def verb(*arguments: str | Path) -> bool:
    """Whether `contrastmask` took its input; it may refuse by a message and the codes 1 and 2, and do nothing else."""
    from contrastmask.cli import main

    said, code = io.StringIO(), None
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
    if code in (None, 0):
        return True
    text = said.getvalue()
    if code not in (1, 2) or len(text) < 20 or "Traceback" in text:
        raise Wrong(f"exit code {code!r}, and it said {text[-400:]!r}")
    return False


def feed(name: str, target: Target, count: int, number: int) -> dict[str, Any]:
    """Feed `count` inputs to a target; how many were taken and refused, and the distinct failures."""
    seen: Counter[str] = Counter()
    failures: dict[str, str] = {}
    for start in (f"{number} {name} {n}" for n in range(count)):
        signal.alarm(LONGEST_S)
        try:
            seen["taken" if target(Random(start)) else "refused"] += 1
        except Exception as error:
            seen["failed"] += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {last.filename}:{last.lineno}"
            failures.setdefault(where, f"input {start}: {''.join(traceback.format_exception(error))[-2500:]}")
        finally:
            signal.alarm(0)
    return {"target": name, "inputs": sum(seen.values()), **seen, "failures": failures}


def hung(*_: Any) -> None:
    raise Wrong(f"nothing after {LONGEST_S} s")


def main(copy: str, results: str, counts: str, number: str) -> int:
    os.chdir(copy)
    sys.path.insert(0, copy)
    faulthandler.enable()
    signal.signal(signal.SIGALRM, hung)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    from faults.targets import TARGETS

    bad = 0
    for name, count in json.loads(counts).items():
        started = time.monotonic()
        report = feed(name, TARGETS[name](Path(results)), count, int(number))
        report["seconds"] = round(time.monotonic() - started, 1)
        failures = report.pop("failures")
        print(json.dumps(report), flush=True)
        for where, text in failures.items():
            print(f"--- {name}: {where}\n{text}", flush=True)
        bad += len(failures)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

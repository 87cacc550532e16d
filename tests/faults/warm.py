"""A process that has imported what training and evaluation import, and forks for each command.

Importing takes longer than a training at the size of these tests. What runs in the fork is the project's own command
line, in a process of its own that can be killed like any other. Orders come as JSON lines on stdin, each is answered by
a number: {"start": {"arguments", "folder", "log", "environment", "faults"}} by the pid, {"wait": pid} by the exit code.
"""

import importlib
import json
import os
import sys
from typing import IO, Any


def serve(answers: IO[str]) -> None:
    print(0, file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        elif not (answer := os.fork()):
            answers.close()
            run(**order["start"])
        print(answer, file=answers, flush=True)


def run(arguments: list[str], folder: str, log: str, environment: dict[str, str], faults: list[dict[str, Any]]) -> None:
    """`contrastmask arguments`, with what the faults change; ends as such a process ends."""
    from faults import inject

    from contrastmask.cli import main

    os.setpgid(0, 0)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (file, 1), (file, 2)):
        os.dup2(descriptor, target)
    os.environ.update(environment)
    os.chdir(folder)
    for fault in faults:
        getattr(inject, fault.pop("name"))(**fault)
    sys.argv = ["contrastmask", *arguments]
    sys.exit(main())


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what imports print is no answer
    import torch

    torch.set_num_threads(1)  # and no pool of threads that a fork would lose
    for module in ("training.build", "training.hooks", "training.train", "evaluation.evaluate", "report.tables"):
        importlib.import_module(f"contrastmask.{module}")
    for module in ("mmdet.engine", "mlflow.store.tracking.sqlalchemy_store", "alembic.command"):
        importlib.import_module(module)
    serve(channel)

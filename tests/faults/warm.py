"""A process that has imported what training and evaluation import, and forks for each command.

Importing takes ten seconds, a training at the size of these tests four. What runs in the fork is the project's own
command line, in a process of its own that can be killed like any other. Orders come as JSON lines on stdin:

    {"start": {"module", "arguments", "folder", "log", "environment", "faults"}}   answers {"pid"}
    {"wait": pid}                                                                   answers {"code"}
"""

import importlib
import json
import os
import runpy
import sys
from typing import IO, Any


def serve(answers: IO[str]) -> None:
    answer(answers, ready=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer(answers, code=os.waitstatus_to_exitcode(status))
        elif pid := os.fork():
            answer(answers, pid=pid)
        else:
            answers.close()
            run(**order["start"])


def answer(answers: IO[str], **content: Any) -> None:
    print(json.dumps(content), file=answers, flush=True)


def run(
    module: str, arguments: list[str], folder: str, log: str, environment: dict[str, str], faults: list[dict[str, Any]]
) -> None:
    """`python -m module arguments`, with what the faults change; ends as such a process ends."""
    from faults import inject

    os.setpgid(0, 0)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (file, 1), (file, 2)):
        os.dup2(descriptor, target)
    os.environ.update(environment)
    os.chdir(folder)
    for fault in faults:
        getattr(inject, fault.pop("name"))(**fault)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what imports print is no answer
    import torch

    torch.set_num_threads(1)  # and no pool of threads that a fork would lose
    for module in (  # in this order: the first puts stand-ins where mmcv has no compiled operators
        "contrastmask.training.build",
        "contrastmask.training.hooks",
        "contrastmask.report.tables",
        "mmdet.engine",
        "mlflow.store.tracking.sqlalchemy_store",
        "alembic.command",
    ):
        importlib.import_module(module)
    serve(channel)

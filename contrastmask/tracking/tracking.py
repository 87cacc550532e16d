"""The commands of tracking: `python -m contrastmask.tracking.tracking sync|ui --results results`."""

import argparse
import logging
import sys
from pathlib import Path

from contrastmask.errors import Failed
from contrastmask.tracking.store import tracking_uri, without_password
from contrastmask.tracking.sync import sync
from contrastmask.tracking.ui import serve


def report(results: Path) -> int:
    """Sync a result folder and say what was done; the exit code."""
    done = sync(results)
    where = without_password(tracking_uri(results))
    print(f"{done.runs} runs in {where}: {done.lines} new lines, {done.killed} marked as killed")
    for failure in done.failed:
        print(f"tracking: {failure}", file=sys.stderr)
    return 1 if done.failed else 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The MLflow view of a result folder.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("sync", "send to MLflow what it does not have"), ("ui", "sync, then open MLflow")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--results", type=Path, default=Path("results"))
        if name == "ui":
            command.add_argument("--host", default="127.0.0.1")
            command.add_argument("--port", type=int, default=5000)
    args = parser.parse_args(argv)
    if not args.results.is_dir():
        parser.error(f"no folder {args.results}: name the result folder of a workflow with --results")
    logging.basicConfig(format="%(message)s")
    try:
        code = report(args.results)
        if args.command == "ui":
            serve(args.results, args.host, args.port)
        return code
    except Failed as error:
        print(f"tracking: {error}\nNothing is lost: the files are complete; run it again later.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""The commands of tracking: `python -m contrastmask.tracking.tracking sync|ui --results results`."""

import argparse
import sys
from pathlib import Path

from contrastmask.errors import ConfigError, Failed
from contrastmask.tracking.sync import sync_and_say
from contrastmask.tracking.ui import serve


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The MLflow view of a result folder.")
    parser.add_argument("command", choices=("sync", "ui"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    args = parser.parse_args(argv)
    try:
        complete = sync_and_say(args.results)
        if args.command == "ui":
            serve(args.results, args.host, args.port)
        return 0 if complete else 1
    except (ConfigError, Failed) as error:
        print(f"tracking: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


if __name__ == "__main__":
    sys.exit(main())

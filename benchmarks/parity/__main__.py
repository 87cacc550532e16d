"""`python -m benchmarks.parity --theirs CHECKOUT --vlkit CHECKOUT`: a line for each comparison, and how many differ.

The checkouts are of github.com/huiserwang/ContrastMask and github.com/vlkit/vlkit, whose modules are imported as they
are; no line of theirs is here. Without them it says why it compares nothing.
"""

import argparse
import sys
import warnings
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--theirs", type=Path, help="checkout of huiserwang/ContrastMask")
    parser.add_argument("--vlkit", type=Path, help="checkout of vlkit/vlkit")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not (given.theirs and given.theirs.is_dir() and given.vlkit and given.vlkit.is_dir()):
        print("skipped: give THEIRS=<checkout of huiserwang/ContrastMask> and VLKIT=<checkout of vlkit/vlkit>")
        return 0
    import torch

    from benchmarks.parity import cases, configuration, modules, released

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    configuration.compare(given.theirs)
    modules.compare(released.load(given.theirs, given.vlkit), given.seed)
    return cases.summary()


if __name__ == "__main__":
    sys.exit(main())

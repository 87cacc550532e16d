"""`make parity`: a line for each comparison with the authors' released code, and how many differ.

Three checkouts are imported as they are, and no line of them is here: github.com/huiserwang/ContrastMask,
github.com/vlkit/vlkit, and github.com/open-mmlab/mmcv at v1.3.9, the version that they name. Without them it says why
it compares nothing.
"""

import argparse
import sys
import tempfile
from pathlib import Path

CHECKOUTS = {"theirs": "huiserwang/ContrastMask", "vlkit": "vlkit/vlkit", "mmcv": "open-mmlab/mmcv at v1.3.9"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    for name, repository in CHECKOUTS.items():
        parser.add_argument(f"--{name}", type=Path, help=f"checkout of {repository}")
    parser.add_argument("--photos", type=Path, nargs="*", help="to detect on  [default: a synthetic image]")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    missing = [name for name in CHECKOUTS if not (getattr(given, name) and getattr(given, name).is_dir())]
    if missing:
        print("skipped: give " + ", ".join(f"{name.upper()}=<checkout of {CHECKOUTS[name]}>" for name in missing))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return compare(given, given.photos or [synthetic(Path(folder))])


def compare(given: argparse.Namespace, photos: list[Path]) -> int:
    """Everything: configuration, functions, RoI heads in training, and the whole detector on photos."""
    import torch

    from benchmarks.parity import configuration, detector, functions, heads, inputs, lines, released, weights

    torch.set_num_threads(1)
    theirs = released.Released(given.theirs, given.vlkit, given.mmcv)
    configuration.compare(theirs)
    functions.compare(theirs, given.seed)
    one, two = theirs.detector(), inputs.detector(given.seed)
    weights.initial(one.roi_head, two.roi_head)
    ours = detector.Ours(two)
    weights.share(one, two, ours.read(photos[0]))
    detector.compare(theirs, one, ours, photos)
    heads.compare(theirs, one.roi_head, two.roi_head, given.seed)
    return lines.summary()


def synthetic(folder: Path) -> Path:
    """An image that this project draws."""
    from contrastmask.data.synthetic import generate

    generate(folder, train_images=1, val_images=1, image_size=480, seed=0)
    return next((folder / "val").glob("*.jpg"))


if __name__ == "__main__":
    sys.exit(main())

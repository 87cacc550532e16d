"""Training annotations that keep the masks of novel categories: for upper bounds, which break the protocol.

    python -m contrastmask.data.all_masks --dataset dataset.json --setting nonvoc2voc --out FILE

Only runs whose option `novel_masks` asks for it read this file; their rows are marked in every table. All others read
what `splits` writes, where no novel mask is left.
"""

import argparse
import sys
from pathlib import Path

from contrastmask.data.dataset import read_dataset
from contrastmask.data.splits import SPLITS, decide, for_training, read_train
from contrastmask.errors import DataError
from contrastmask.runtime.files import raise_problems, write_coco


def write_all_masks(dataset_json: Path, setting: str, out: Path, splits_dir: Path = SPLITS) -> None:
    """Write the training annotations whole, after checking that novel ones have masks at all.

    Raises:
        DataError: the setting is unusable, the annotations changed, or novel annotations have no segmentation.
    """
    dataset = read_dataset(dataset_json)
    coco = read_train(dataset, dataset_json)
    _, novel = decide(setting, dataset, coco, splits_dir, show=False)
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    lacking = {a["category_id"] for a in coco["annotations"] if not (a["iscrowd"] or a.get("segmentation"))} & set(
        novel
    )
    raise_problems(
        dataset["train"]["annotations"],
        [
            f"novel category {names[i]} ({i}) has annotations without segmentation: an upper bound (option "
            "novel_masks) needs all of them; leave its rows out"
            for i in sorted(lacking)
        ],
    )
    images = [{key: image[key] for key in ("id", "file_name", "width", "height")} for image in coco["images"]]
    write_coco(out, images, for_training(coco["annotations"], set()), dataset["categories"])


def main(argv: list[str] | None = None) -> int:
    """The command line; exit status 2 with one message for an unusable setting."""
    parser = argparse.ArgumentParser(prog="python -m contrastmask.data.all_masks", description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="dataset.json")
    parser.add_argument("--setting", required=True, help="<base>2<novel>, e.g. nonvoc2voc")
    parser.add_argument("--out", required=True, type=Path, help="file to write")
    arguments = parser.parse_args(argv)
    try:
        write_all_masks(arguments.dataset, arguments.setting, arguments.out)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

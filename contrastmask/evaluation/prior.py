"""Quality of the class activation map as a prior, over the val objects of a run (`contrastmask diagnose`)."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from contrastmask.errors import DataError
from contrastmask.runtime.files import atomic_writer
from contrastmask.runtime.terminal import markdown, number

COLUMNS = (
    "annotation_id", "category_id", "split", "class_right",
    "fg", "fg_right", "bg", "bg_right", "cam_iou", "cos_X", "cos_Y", "cos_Z", "prototype_iou",
    "std_X", "std_A",
)  # fmt: skip

#: Name in `means`: what it says, for a person.
MEASURES = {
    "class_accuracy": "objects whose class the box head names",
    "fg_precision": "pixels of I+ (A >= 1 - delta) on the object",
    "bg_precision": "pixels of I- (A <= delta) off the object",
    "wrong_keys": "pixels of I+ and I- that are wrong",
    "with_keys": "objects with at least 5 pixels in both",
    "cam_iou": "IoU of A > 0.5 with the mask",
    "cos_X": "cosine of mean features on and off the object: FPN",
    "cos_Y": "the same after the encoder",
    "cos_Z": "the same after the projector",
    "prototype_iou": "IoU of the pixels nearer to the foreground's query",
    "X_to_A": "standard deviation of FPN features over that of A: where it is far above 1, A is hardly seen",
}
KEYS = 5  # pixels
LEAD = ["run", "split", "seeds"]


def means(objects: pd.DataFrame) -> "pd.Series[float]":
    """MEASURES over lines of prior.csv, in [0, 1] (cosines in [-1, 1]); NaN where there is nothing to measure.

    Precisions pool the pixels of all objects, `X_to_A` (0 or more) is a ratio of means, the others are means over
    objects.
    """
    numbers = objects[[*COLUMNS[3:]]].astype(float)
    total = numbers[["fg", "fg_right", "bg", "bg_right"]].sum()
    right = pd.Series([total.fg_right, total.bg_right, total.fg_right + total.bg_right])
    fg_precision, bg_precision, precision = right / [total.fg, total.bg, total.fg + total.bg]
    found = numbers.rename(columns={"class_right": "class_accuracy"}).mean()
    found["with_keys"] = (numbers[["fg", "bg"]].min(axis=1) >= KEYS).mean()
    found["X_to_A"] = found["std_X"] / found["std_A"]
    found["fg_precision"], found["bg_precision"], found["wrong_keys"] = fg_precision, bg_precision, 1 - precision
    return found[[*MEASURES]]


def by_run(files: Iterable[Path]) -> pd.DataFrame:
    """One line for each run and split: MEASURES, means over the seeds, from prior.csv of each run and seed.

    Raises:
        DataError: a file is not what `diagnose` writes.
    """
    lines = []
    for file in files:
        run = file.absolute().parent.parent.name
        try:
            objects = pd.read_csv(file)
            for split in ("novel", "base"):
                lines.append({"run": run, "split": split, **means(objects[objects["split"] == split])})
        except (ValueError, KeyError) as error:
            raise DataError(f"{file} is no prior.csv of `contrastmask diagnose`, or is damaged: {error}") from None
    seeds = pd.DataFrame(lines).groupby(["run", "split"], sort=False)
    return seeds.mean().assign(seeds=seeds.size()).reset_index()[[*LEAD, *MEASURES]]


def to_markdown(table: pd.DataFrame) -> str:
    """The table for a person, with what each column says."""
    rows = [
        [*map(str, line[: len(LEAD)]), *(number(n, ".3f") for n in line[len(LEAD) :])]
        for line in table.itertuples(index=False)
    ]
    said = [f"- `{name}`: {meaning}" for name, meaning in MEASURES.items()]
    return "\n".join([markdown([*LEAD, *MEASURES], rows, left=2), "", *said, ""])


def write_table(folder: Path, files: Iterable[Path]) -> None:
    """Write prior.csv and prior.md in a scale's folder, from prior.csv of its runs."""
    table = by_run(files)
    with atomic_writer(folder / "prior.csv") as out:
        table.to_csv(out, index=False, float_format="%.6f", lineterminator="\n")
    with atomic_writer(folder / "prior.md") as out:
        out.write(to_markdown(table))

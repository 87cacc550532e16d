"""Quality of the class activation map as a prior, over the val objects of a run (`contrastmask diagnose`)."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from contrastmask.runtime import grid
from contrastmask.runtime.files import atomic_writer

COLUMNS = (
    "annotation_id", "category_id", "split", "class_right",
    "fg", "fg_right", "bg", "bg_right", "cam_iou", "cos_X", "cos_Y", "cos_Z", "prototype_iou",
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
}
KEYS = 5  # pixels
LEAD = ("run", "split", "seeds")


def read(path: Path) -> list[dict[str, str]]:
    """The lines of a run's prior.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def means(lines: Sequence[Mapping[str, Any]], split: str) -> dict[str, float | None]:
    """MEASURES over the objects of a split ("novel" or "base"), in [0, 1] (cosines in [-1, 1]); None where there is
    nothing to measure. Precisions pool the pixels of all objects, the others are means over objects.
    """
    of_split = [line for line in lines if line["split"] == split]

    def total(name: str) -> float:
        return sum(float(line[name]) for line in of_split)

    fg, bg, right = total("fg"), total("bg"), total("fg_right") + total("bg_right")
    enough = [min(float(line["fg"]), float(line["bg"])) >= KEYS for line in of_split]
    return {
        "class_accuracy": _mean(line["class_right"] for line in of_split),
        "fg_precision": total("fg_right") / fg if fg else None,
        "bg_precision": total("bg_right") / bg if bg else None,
        "wrong_keys": 1 - right / (fg + bg) if fg + bg else None,
        "with_keys": _mean(enough),
        **{
            name: _mean(line.get(name, "") for line in of_split)
            for name in ("cam_iou", "cos_X", "cos_Y", "cos_Z", "prototype_iou")
        },
    }


def _mean(values: Iterable[Any]) -> float | None:
    numbers = [float(value) for value in values if value != ""]
    numbers = [number for number in numbers if not math.isnan(number)]
    return sum(numbers) / len(numbers) if numbers else None


# ---------------------------------------------------------------------------- a table over runs


def to_csv(measured: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> str:
    """One line for each run and split: MEASURES, means over the seeds.

    Args:
        measured: by run id, the lines of each seed's prior.csv.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*LEAD, *MEASURES))
    for run, seeds in measured.items():
        for split in ("novel", "base"):
            found = [means(lines, split) for lines in seeds]
            numbers = [_mean("" if f[name] is None else f[name] for f in found) for name in MEASURES]
            writer.writerow((run, split, len(seeds), *("" if n is None else f"{n:.6f}" for n in numbers)))
    return text.getvalue()


def to_markdown(table: str) -> str:
    """The csv for a person, with what each column says."""
    rows = [
        [*(line[key] for key in LEAD), *(f"{float(line[n]):.3f}" if line[n] else "–" for n in MEASURES)]
        for line in csv.DictReader(io.StringIO(table))
    ]
    said = [f"- `{name}`: {meaning}" for name, meaning in MEASURES.items()]
    return "\n".join([grid.markdown([*LEAD, *MEASURES], rows, left=2), "", *said, ""])


def write_table(folder: Path, files: Iterable[Path]) -> None:
    """Write prior.csv and prior.md in a scale's folder, from prior.csv of its runs."""
    measured: dict[str, list[list[dict[str, str]]]] = {}
    for file in files:
        measured.setdefault(file.parent.parent.name, []).append(read(file))
    table = to_csv(measured)
    for suffix, text in (("csv", table), ("md", to_markdown(table))):
        with atomic_writer(folder / f"prior.{suffix}") as out:
            out.write(text)

"""Which runs a figure shows (configs/figures.yaml), and what stands over it. No plotting: rules read this."""

from typing import Any, NamedTuple

from contrastmask import paths
from contrastmask.config import RunSpec, load_table
from contrastmask.config.rows import ANY_SCALE, Scale
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import ConfigError


class Text(NamedTuple):
    """What stands over a figure."""

    heading: str
    title: str
    caption: str


TEXTS = {
    "figure6": Text(
        "Figure 6",
        "With and without the contrastive learning head",
        "The same images as annotated, without the head and with it. As many detections as the image has objects, best "
        "first. Base categories, learnt from masks, are blue and solid; novel ones, learnt from boxes, are orange and "
        "dashed.",
    ),
    "figure7": Text(
        "Figure 7",
        "Class activation maps and pseudo masks",
        "The largest novel objects of each image, cropped to their boxes: the image, the class activation map, and the "
        "pseudo mask made from it. Yellow is taken for foreground and dark purple for background; grey is undecided "
        "and gives no keys.",
    ),
    "objects": Text(
        "Objects",
        "Novel objects as each row segments them",
        "The same objects in their true boxes: as annotated, and for each row its class activation map, if it has one, "
        "and its mask with the IoU.",
    ),
}
_ROWS = {"figure6": ("without", "with"), "figure7": ("row",)}


def load_figures() -> dict[str, Any]:
    """configs/figures.yaml, checked; ConfigError naming the file, the key and the fix."""
    return read_yaml(paths.CONFIGS / "figures.yaml", "figures")


def figure_rows(figure: str, preset: str, scale: Scale = ANY_SCALE) -> dict[str, RunSpec]:
    """The runs that a figure shows by their rows' labels, all of one setting.

    For figure6 without and with the head, for figure7 one, for objects all of figure7's table.

    Raises:
        ConfigError: a row that does not exist or has no run, or rows of different settings.
    """
    chosen = load_figures()["figure7" if figure == "objects" else figure]
    file = paths.CONFIGS / "figures.yaml"
    table = load_table(chosen["table"], preset, scale)
    rows = table.by_label
    labels = [chosen[key] for key in _ROWS[figure]] if figure in _ROWS else list(rows)
    unknown = [label for label in labels if label not in rows]
    if unknown:
        raise ConfigError(
            f"{file}, {figure}: {table.name} has no row '{unknown[0]}' with a run; there are: {', '.join(sorted(rows))}"
        )
    runs = {label: run for label in labels if (run := rows[label].run)}
    if len({run.setting for run in runs.values()}) > 1:
        raise ConfigError(f"{file}, {figure}: its rows are of different settings; choose rows of one")
    return runs

"""What the finished seeds of one run measured on novel categories, read from their metrics.json files."""

import json
import logging
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrastmask.config.yamlfiles import check
from contrastmask.report.paper import METRICS

log = logging.getLogger(__name__)

IOU = "IoU"
"""Mean mask IoU in true boxes, beside the METRICS."""
INSTEAD = {"box AP": ("bbox", "novel"), "base mask AP": ("segm", "base")}
"""What a row can say where val has no masks of novel categories."""


@dataclass(frozen=True)
class Measured:
    """METRICS, IOU and INSTEAD of the seeds that could be read, and the files that could not."""

    seeds: tuple[dict[str, float | None], ...]
    """Per finished seed, fractions in [0, 1]; None where nothing could be measured."""
    unreadable: tuple[str, ...] = ()
    """Paths relative to the result folder."""

    def mean(self, metric: str) -> float | None:
        """Mean over the finished seeds, times 100; None if a seed has no value."""
        values = self._values(metric)
        return statistics.fmean(values) if values else None

    def sd(self, metric: str) -> float | None:
        """Sample standard deviation over the finished seeds, times 100; None for fewer than two."""
        values = self._values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def _values(self, metric: str) -> list[float]:
        # Seeds share the validation images, so a metric is missing for all or for none; a mix would be an error
        # somewhere, and a mean over fewer seeds than n_seeds says would hide it.
        values = [seed[metric] for seed in self.seeds]
        return [100 * value for value in values if value is not None] if None not in values else []


def read_run(results: Path, scale: str, run: str, seeds: Iterable[int]) -> Measured:
    """Read what the seeds of `run` have measured so far. A file that cannot be used is logged and listed."""
    found, unreadable = [], []
    for seed in seeds:
        file = results / scale / "runs" / run / f"seed{seed}" / "metrics.json"
        if not file.exists():
            continue
        try:
            found.append(_novel(file, {"scale": scale, "run": run, "seed": seed}))
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s cannot be used, the table goes without it: %s", file, error)
            unreadable.append(file.relative_to(results).as_posix())
    return Measured(tuple(found), tuple(unreadable))


def _novel(file: Path, expected: dict[str, Any]) -> dict[str, float | None]:
    content = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    check(content, "metrics", file.name)
    for key, value in expected.items():
        if content.get(key) != value:
            raise ValueError(f"its {key} is {content.get(key)!r}, not {value!r}")
    try:
        novel = {metric: content["segm"]["novel"][metric] for metric in METRICS}
    except KeyError as error:
        raise ValueError(f"it has no {error} of segm.novel") from None
    instead = {name: content.get(kind, {}).get(of, {}).get("AP") for name, (kind, of) in INSTEAD.items()}
    return novel | instead | {IOU: content.get("gt_box_miou", {}).get("novel")}


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no fraction")

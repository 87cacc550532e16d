"""Do the paper's claims hold? Each claim of configs/claims.yaml with its effect, its interval and a verdict, computed.

A claim is that some runs are better than others. Each pair is compared by a paired bootstrap over the val images, and
over the seeds where both runs have several (evaluation/bootstrap.py): *supported* if the 95 % interval of the effect
lies above 0, *contradicted* if it lies below, *inconclusive* if it holds 0, *not run* if a run is missing, *not
measured* if the val images hold no object to measure on.

A claim of several pairs ("the best of") is as good as its worst pair: contradicted if one pair is, supported only if
all are. That pair is the one shown: of those with the worst verdict the one whose interval reaches lowest. Intervals
are not widened for the number of pairs or claims.
"""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from contrastmask.config import RunSpec
from contrastmask.config.rows import ANY_SCALE, Scale
from contrastmask.evaluation import bootstrap
from contrastmask.evaluation.bootstrap import Floats
from contrastmask.evaluation.measurements import MeasurementError, Val, finished_seeds, read_measurements, read_val
from contrastmask.report import paper
from contrastmask.report.statements import Side, Statement, load_statements
from contrastmask.runtime.terminal import NOTHING, number

log = logging.getLogger(__name__)

Verdict = Literal["contradicted", "inconclusive", "supported", "not measured", "not run"]
WORST_FIRST: tuple[Verdict, ...] = ("contradicted", "inconclusive", "supported")


@dataclass(frozen=True)
class Effect:
    """One pair by one measure, times 100; numbers are None where nothing was measured."""

    pair: str
    ours: float | None
    low: float | None
    high: float | None
    paper: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Claim:
    """A claim by two measures, each decided by its worst pair."""

    text: str
    where: str
    subset: str
    by_ap: Effect
    """Mask AP. `paper` is the printed effect of that pair; of the pair with the smallest where nothing was run."""
    by_iou: Effect
    """Mean mask IoU in ground-truth boxes, which no number of the paper is of."""
    seeds: tuple[int, ...]
    """Seeds that all runs of the claim have finished."""
    missing: tuple[str, ...]
    """Runs without a finished seed that can be read."""

    def in_words(self, verdict: Verdict) -> str:
        """A verdict as a person reads it: one seed cannot tell what another would have changed."""
        return f"{verdict} (1 seed)" if len(self.seeds) == 1 and verdict in WORST_FIRST else verdict


def claims(
    folder: Path,
    seeds: Sequence[int],
    preset: str = "paper",
    resamples: int = bootstrap.RESAMPLES,
    scale: Scale = ANY_SCALE,
) -> list[Claim]:
    """Every claim of configs/claims.yaml, in order, against what was measured in a scale's folder.

    Args:
        folder: results/<scale>.
        seeds: that count, where finished.
        preset: of rows that name none.
        resamples: of the bootstrap.
        scale: content of the scale's file.

    Runs that are missing or cannot be read are logged, listed and lead to `not run`; a statement beyond the paper is
    then left out.
    """
    statements = load_statements(preset, scale)
    measured = Resampled(folder, tuple(seeds), resamples)
    subsets = tuple(dict.fromkeys(statement.subset for statement in statements))
    for run in dict.fromkeys(run for statement in statements for run in statement.runs):
        measured.read(run.id, subsets)
    found = [_claim(statement, measured) for statement in statements]
    return [claim for claim, statement in zip(found, statements, strict=True) if claim.seeds or not statement.beyond]


class Resampled:
    """AP and mean mask IoU of runs under common resamples of the val images."""

    def __init__(self, folder: Path, seeds: tuple[int, ...], resamples: int) -> None:
        self.folder, self.seeds, self.resamples = folder, seeds, resamples
        self.values: dict[tuple[str, int, str], tuple[Floats, Floats]] = {}
        """(run, seed, subset): AP and IoU, each under every weighting, row 0 the data as it is."""

    @cached_property
    def _val(self) -> Val:
        return read_val(self.folder)

    @cached_property
    def _weights(self) -> Floats:
        return bootstrap.image_weights(len(self._val.images), self.resamples)

    def read(self, run: str, subsets: Sequence[str]) -> None:
        """Measure what is there of a run."""
        for seed in {*self.seeds} & {*finished_seeds(self.folder, run)}:
            try:
                measurements = read_measurements(self.folder, run, seed, self._val)
                for subset in subsets:
                    categories = measurements.categories(subset)
                    ap = measurements.average_precision(categories, self._weights)
                    self.values[run, seed, subset] = ap, measurements.mean_iou(categories, self._weights)
            except MeasurementError as error:
                log.warning("the claims go without %s, seed %d: %s", run, seed, error)

    def finished(self, runs: Sequence[RunSpec], subset: str) -> tuple[int, ...]:
        """Seeds that all of `runs` have."""
        return tuple(seed for seed in self.seeds if all((run.id, seed, subset) in self.values for run in runs))

    def missing(self, runs: Sequence[RunSpec], subset: str) -> tuple[str, ...]:
        """Runs without any seed."""
        return tuple(run.id for run in runs if not self.finished([run], subset))

    def difference(self, a: str, b: str, seeds: Sequence[int], subset: str, measure: int) -> bootstrap.Interval | None:
        """a - b with its interval; `measure` 0 is AP, 1 IoU."""
        values = [self.values[a, s, subset][measure] - self.values[b, s, subset][measure] for s in seeds]
        return bootstrap.interval(bootstrap.over_seeds(np.stack(values)))


def _claim(statement: Statement, measured: Resampled) -> Claim:
    seeds = measured.finished(statement.runs, statement.subset)
    by_ap, by_iou = (
        worst([_effect(statement, pair, measured, seeds, measure) for pair in statement.pairs]) for measure in (0, 1)
    )
    missing = measured.missing(statement.runs, statement.subset)
    by_iou = replace(by_iou, paper=None)
    return Claim(statement.text, statement.where, statement.subset, by_ap, by_iou, seeds, missing)


def _effect(
    statement: Statement, pair: tuple[Side, Side], measured: Resampled, seeds: Sequence[int], measure: int
) -> Effect:
    better, than = pair
    name, printed = f"{better.label} - {than.label}", _printed(statement, pair)
    if not seeds:
        return Effect(name, None, None, None, printed, "not run")
    found = measured.difference(better.run.id, than.run.id, seeds, statement.subset, measure)
    if found is None:
        return Effect(name, None, None, None, printed, "not measured")
    low, high = 100 * found.low, 100 * found.high
    return Effect(name, 100 * found.value, low, high, printed, verdict(low, high))


def verdict(low: float, high: float) -> Verdict:
    """What an effect's interval says about the claim that it is positive."""
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "inconclusive"


def worst(effects: Sequence[Effect]) -> Effect:
    """The pair that decides a claim: of the worst verdict, the lowest; where one has no effect, the least printed."""
    without = [effect for effect in effects if effect.ours is None]
    if without:
        return min(without, key=lambda e: float("inf") if e.paper is None else e.paper)
    return min(effects, key=lambda e: (WORST_FIRST.index(e.verdict), e.low))


def _printed(statement: Statement, pair: tuple[Side, Side]) -> float | None:
    """The paper's effect in AP x 100: its two printed novel AP, or what its text says."""
    if statement.printed is not None or statement.subset != "novel":
        return statement.printed
    better, than = (paper.printed(side.row) if side.row else None for side in pair)
    if better is None or than is None or better["AP"] is None or than["AP"] is None:
        return None
    return round(better["AP"] - than["AP"], 1)  # printed to 0.1


# ---------------------------------------------------------------------------- files

COLUMNS = (
    "claim", "where", "subset", "pair", "ours", "low", "high", "paper", "verdict",
    "iou_pair", "iou_ours", "iou_low", "iou_high", "iou_verdict", "seeds", "missing", "scale", "comparable",
)  # fmt: skip


def to_csv(found: Sequence[Claim], scale: dict[str, Any]) -> str:
    """One line a claim with COLUMNS, numbers unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for c in found:
        ap, iou = c.by_ap, c.by_iou
        line = [c.text, c.where, c.subset, ap.pair, ap.ours, ap.low, ap.high, ap.paper, ap.verdict]
        line += [iou.pair, iou.ours, iou.low, iou.high, iou.verdict]
        writer.writerow([*line, " ".join(map(str, c.seeds)), " ".join(c.missing), scale["name"], scale["comparable"]])
    return text.getvalue()


def to_markdown(found: Sequence[Claim], scale: dict[str, Any], resamples: int = bootstrap.RESAMPLES) -> str:
    """For a person: what is claimed, by how much, and whether it holds, with the scale and how it was computed."""
    columns = ("claim", "where", "paper", "mask AP", "verdict", "mask IoU in true boxes", "verdict", "pair", "seeds")
    lines = ["| " + " | ".join(columns) + " |", "|---|---|--:|--:|---|--:|---|---|---|"]
    for c in found:
        text = c.text if c.subset == "novel" else f"{c.text} ({c.subset} categories)"
        by_ap, by_iou = c.in_words(c.by_ap.verdict), c.in_words(c.by_iou.verdict)
        cells = [
            text,
            c.where,
            number(c.by_ap.paper, "+.1f"),
            _range(c.by_ap),
            by_ap,
            _range(c.by_iou),
            by_iou,
            c.by_ap.pair,
        ]
        cells.append(", ".join(map(str, c.seeds)) or NOTHING)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(["# The paper's claims", "", *notes(scale, resamples), "", *lines, "", *_gaps(found)])


def _range(effect: Effect) -> str:
    if effect.ours is None:
        return NOTHING
    return f"{effect.ours:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]"


def notes(scale: dict[str, Any], resamples: int = bootstrap.RESAMPLES) -> list[str]:
    """What must stand beside a table of claims: the scale, whether it may be compared, how intervals were made."""
    said = [f"Scale {scale['name']}: {scale['note']}", ""]
    if not scale["comparable"]:
        said += ["**Not comparable with the paper**: a verdict here is about this scale alone.", ""]
    said.append(
        f"Effects times 100 with their 95 % percentile intervals: {resamples} paired bootstrap resamples of the val"
        " images, and of the seeds where a claim has several (one seed says nothing about what another would change)."
        " Supported: the interval is above 0; contradicted: below; inconclusive: it holds 0. A claim of several pairs"
        " is decided by its worst pair."
    )
    return said


def _gaps(found: Sequence[Claim]) -> list[str]:
    missing = list(dict.fromkeys(run for claim in found for run in claim.missing))
    return [f"Runs that are missing: {', '.join(missing)}.", ""] if missing else []

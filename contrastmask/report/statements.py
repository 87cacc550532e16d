"""configs/claims.yaml: what the paper claims, as pairs of runs. Light, since Snakemake reads it."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from contrastmask import paths
from contrastmask.config import Row, RunSpec, load_table, run_spec
from contrastmask.config.rows import ANY_SCALE, Scale
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import ConfigError


@dataclass(frozen=True)
class Side:
    """A run of a claim. `row` is the table's row that it stands in, None for one that no table of the paper has."""

    label: str
    run: RunSpec
    row: Row | None


@dataclass(frozen=True)
class Statement:
    """A claim before it is held against results: each of `better` is better than each of `than` on `subset`."""

    text: str
    where: str
    subset: str
    better: tuple[Side, ...]
    than: tuple[Side, ...]
    printed: float | None
    beyond: bool = False
    """Not of the paper: held against its runs where they are measured, and no reason to make them."""

    @property
    def pairs(self) -> list[tuple[Side, Side]]:
        return list(product(self.better, self.than))

    @property
    def runs(self) -> list[RunSpec]:
        """The distinct runs that the claim needs."""
        return list(dict.fromkeys(side.run for side in (*self.better, *self.than)))


def load_statements(preset: str, scale: Scale = ANY_SCALE) -> list[Statement]:
    """configs/claims.yaml, checked, with the runs of a scale; ConfigError naming what is wrong."""
    file = paths.CONFIGS / "claims.yaml"
    content = read_yaml(file, "claims")
    named = {side["table"] for claim in _claims(content) for side in _sides(claim) if "table" in side}
    rows = {table: load_table(table, preset, scale).by_label for table in named}

    def read(side: dict[str, Any]) -> Side:
        if "table" not in side:
            run = run_spec(content["base"] | side, preset, scale)
            return Side(", ".join(f"{key}={value}" for key, value in run.options) or "default", run, None)
        row = rows[side["table"]].get(side["row"])
        if row is None or row.run is None:
            known = ", ".join(rows[side["table"]])
            raise ConfigError(f"{file}: {side['table']} has no row '{side['row']}' with a run; its rows: {known}")
        return Side(row.label, row.run, row)

    return [
        Statement(
            text=claim["text"],
            where=claim["where"],
            subset=claim.get("subset", "novel"),
            better=tuple(map(read, claim["better"])),
            than=tuple(map(read, claim["than"])),
            printed=claim.get("printed"),
            beyond=claim not in content["claims"],
        )
        for claim in _claims(content)
    ]


def _claims(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [*content["claims"], *content.get("beyond", [])]


def _sides(claim: dict[str, Any]) -> list[dict[str, Any]]:
    return [*claim["better"], *claim["than"]]

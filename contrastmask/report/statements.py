"""configs/claims.yaml: what the paper claims, as pairs of runs. Light, since Snakemake reads it."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from contrastmask import paths
from contrastmask.config import Row, RunSpec, Table, load_table, run_spec
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
    tables = {table: load_table(table, preset, scale) for table in named}

    def read(side: dict[str, Any]) -> Side:
        if "table" not in side:
            run = run_spec(content["base"] | side, preset, scale)
            words = ([side["method"]] if "method" in side else []) + [f"{key}={value}" for key, value in run.options]
            return Side(", ".join(words) or "default", run, None)
        return _row_side(tables[side["table"]], side["row"], side.get("setting"))

    def statement(claim: dict[str, Any]) -> Statement:
        better, than = (tuple(map(read, claim[side])) for side in ("better", "than"))
        subset, settings = claim.get("subset", "novel"), sorted({side.run.setting for side in (*better, *than)})
        if len(settings) > 1 and subset != "all":
            raise ConfigError(
                f"its runs are of the settings {', '.join(settings)}, whose {subset} categories differ: choose runs of "
                "one, or `subset: all`"
            )
        beyond = claim not in content["claims"]
        return Statement(claim["text"], claim["where"], subset, better, than, claim.get("printed"), beyond)

    found = []
    for claim in _claims(content):
        try:
            found.append(statement(claim))
        except ConfigError as error:
            raise ConfigError(f"{file}, '{claim['text']}': {error}") from None
    return found


def _row_side(table: Table, label: str, setting: str | None) -> Side:
    """The run of a table's row; `setting` says which, where the row is of several."""
    found = [Side(label, r.run, r) for r in table.rows if r.run and r.label == label and setting in (None, r.setting)]
    if not found:
        which, known = f"'{label}'" + (f" of setting {setting}" if setting else ""), ", ".join(table.by_label)
        raise ConfigError(f"{table.name} has no row {which} with a run; its rows: {known}")
    if len(settings := {side.run.setting: None for side in found}) > 1:
        raise ConfigError(f"row '{label}' of {table.name} has several settings; add one: {', '.join(settings)}")
    if len(found) > 1:
        raise ConfigError(f"{table.name} has several rows '{label}': name the run itself, by what differs from `base`")
    return found[0]


def _claims(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [*content["claims"], *content.get("beyond", [])]


def _sides(claim: dict[str, Any]) -> list[dict[str, Any]]:
    return [*claim["better"], *claim["than"]]

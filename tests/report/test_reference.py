"""The committed evidence: its tables, claims and priors follow from the runs kept beside them."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest

from contrastmask.config import CONFIGS, load_table
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.evaluation.prior import read
from contrastmask.evaluation.prior import to_csv as prior_csv
from contrastmask.paths import ROOT
from contrastmask.report.claims import claims, to_csv
from contrastmask.report.tables import build

REFERENCE = ROOT / "results" / "reference"
SCALES = sorted(path.parent.name for path in REFERENCE.glob("*/runs"))
SEEDS = (0, 1, 2)
# Of commit 50cffd1 with results/reference deleted and nothing else changed, which then counted as a change:
#   git clone … && git checkout 50cffd1 && rm -r results/reference
#   { git status --porcelain; git diff --binary HEAD; } | sha256sum
WITHOUT_REFERENCE = "3311ebe713d9d5cae6dfcc9933be7c95c3a651523ecb52bfdb6a341b883e681d"


def test_there_is_evidence_at_both_scales() -> None:
    assert {"mini", "coco-mini"} <= {*SCALES}


@pytest.fixture(params=SCALES)
def folder(request: pytest.FixtureRequest) -> Path:
    return REFERENCE / request.param


def test_tables_follow_from_the_runs(folder: Path) -> None:
    scale = read_yaml(CONFIGS / "scales" / f"{folder.name}.yaml", "scale")
    files = sorted((folder / "tables").glob("*.csv"))
    assert files
    for file in files:
        table = load_table(CONFIGS / "tables" / f"{file.stem}.yaml", "paper")
        again = build(table, REFERENCE, scale, SEEDS, "paper").to_csv(index=False, lineterminator="\n")
        pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(again)), pd.read_csv(file), rtol=1e-9)


def test_claims_follow_from_the_runs(folder: Path) -> None:
    scale = read_yaml(CONFIGS / "scales" / f"{folder.name}.yaml", "scale")
    again = pd.read_csv(io.StringIO(to_csv(claims(folder, SEEDS), scale)))
    kept = pd.read_csv(folder / "claims.csv")
    pd.testing.assert_frame_equal(again, kept, rtol=1e-6, atol=1e-9)
    assert kept["verdict"].isin(["supported", "contradicted", "inconclusive", "not run", "not measured"]).all()


def test_priors_follow_from_the_runs(folder: Path) -> None:
    with (folder / "prior.csv").open(newline="") as file:
        kept = list(csv.DictReader(file))
    measured: dict[str, list] = {}
    for file in sorted(folder.glob("runs/*/seed*/prior.csv")):
        measured.setdefault(file.parent.parent.name, []).append(read(file))
    again = {(line["run"], line["split"]): line for line in csv.DictReader(io.StringIO(prior_csv(measured)))}
    assert kept
    for line in kept:
        for name, value in line.items():
            if value and name not in ("run", "split"):
                assert float(again[line["run"], line["split"]][name]) == pytest.approx(float(value), abs=1e-6)


def test_every_run_says_where_it_comes_from(folder: Path) -> None:
    for file in folder.glob("runs/*/seed*/train.json"):
        record = json.loads(file.read_text())
        assert record["config_hash"] and record["data_digest"] and record["seconds"] > 0, file
        said = record["provenance"]
        assert said["git.commit"] and said["hw.cpu"], file
        assert said["git.dirty"] == "false" or said["git.diff_sha256"] == WITHOUT_REFERENCE, file


@pytest.mark.parametrize("scale", ["mini", "coco-mini"])
def test_the_page_shows_the_claims_as_they_were_computed(scale: str) -> None:
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    shown = page.split(f"<!-- claims of {scale} -->\n")[1].split("<!-- end of claims -->")[0]
    computed = (REFERENCE / scale / "claims.md").read_text(encoding="utf-8").splitlines()
    lines = [line for line in computed if line.startswith("|") and " | not run | " not in line]
    assert shown.strip() == "\n".join(lines)

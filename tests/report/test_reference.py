"""The committed evidence: tables follow from the runs' numbers, verdicts from intervals, the page from the claims."""

import csv
import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import pytest
from report.made_up import write_run, write_val

from contrastmask.errors import DataError
from contrastmask.paths import ROOT
from contrastmask.report.claims import verdict
from contrastmask.report.evidence import MEASURED, export_evidence
from contrastmask.report.paper import METRICS

REFERENCE = ROOT / "results" / "reference"
SCALES = sorted(path.parent for path in REFERENCE.glob("*/runs.csv"))


def lines(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(params=SCALES, ids=[folder.name for folder in SCALES])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_is_evidence_and_it_is_small() -> None:
    files = [file for file in REFERENCE.rglob("*") if file.is_file()]
    assert SCALES and len(files) <= 50 and sum(file.stat().st_size for file in files) < 1_000_000


def test_tables_follow_from_the_runs(folder: Path) -> None:
    runs = defaultdict(list)
    for line in lines(folder / "runs.csv"):
        runs[line["run"]].append(line)
    tables = sorted((folder / "tables").glob("*.csv"))
    assert tables
    for row in (row for table in tables for row in lines(table) if int(row["n_seeds"])):
        of_run = runs[row["run"]]
        assert len(of_run) >= int(row["n_seeds"])
        for metric in (*METRICS, "IoU"):
            seeds = [100 * float(line[f"novel_{metric}"]) for line in of_run if line[f"novel_{metric}"]]
            assert row[metric] == ("" if not seeds else row[metric])
            assert not seeds or float(row[metric]) == pytest.approx(fmean(seeds[: int(row["n_seeds"])]))


#: Code of a checkout that was not clean, by its digest: the commit that it is of (docs/evidence.md).
OF_COMMIT = {"65236f60b9cf2223": "0966b7f", "2707efa2ea28f513": "6128d34", "bad008d48ccb2919": "20428f3"}


def test_every_run_says_where_it_comes_from(folder: Path) -> None:
    for line in lines(folder / "runs.csv"):
        assert line["config_hash"] and line["data_digest"] and line["git.commit"] and line["hw.cpu"]
        assert float(line["seconds"]) > 0
        assert line["git.dirty"] == "false" or line["code_digest"] in OF_COMMIT


def test_verdicts_follow_from_the_intervals(folder: Path) -> None:
    claims = lines(folder / "claims.csv")
    assert any(claim["ours"] for claim in claims)
    for claim in claims:
        for prefix in ("", "iou_"):
            if claim[f"{prefix}ours"]:
                low, value, high = (float(claim[prefix + name]) for name in ("low", "ours", "high"))
                assert claim[f"{prefix}verdict"] == verdict(low, high) and low <= value <= high + 1e-9
            else:
                assert claim[f"{prefix}verdict"] in ("not run", "not measured")


def test_the_page_shows_the_claims_as_they_were_computed() -> None:
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- claims of (\S+) -->\n(.*?)\n<!-- end of claims -->", page, re.S)
    assert shown and len(page.splitlines()) <= 120
    for scale, table in shown:
        computed = (REFERENCE / scale / "claims.md").read_text(encoding="utf-8").splitlines()
        elsewhere = (" | not run | ", " | released code | ", " | table beyond | ")  # in docs/fidelity.md, in the text
        assert table.splitlines() == [
            line for line in computed if line[:1] == "|" and not any(words in line for words in elsewhere)
        ]


@pytest.mark.parametrize("page", ["README.md", "docs/evidence.md"])
def test_every_interval_in_the_text_is_that_of_a_claim(page: str) -> None:
    text = re.sub("<!-- claims of .*?<!-- end of claims -->", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    shown = re.findall(r"([+−]?\d+\.\d) \[([+−]?\d+\.\d), ([+−]?\d+\.\d)\]", text)
    computed = {
        tuple(f"{float(claim[f'{prefix}{name}']):.1f}" for name in ("ours", "low", "high"))
        for folder in SCALES
        for claim in lines(folder / "claims.csv")
        for prefix in ("", "iou_")
        if claim[f"{prefix}ours"]
    }
    assert shown and {tuple(f"{float(n.replace('−', '-')):.1f}" for n in three) for three in shown} <= computed


def test_the_page_on_fidelity_shows_what_each_difference_gains() -> None:
    rows = re.findall(r"^\|.*\|$", (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8"), re.M)
    shown = {cells[3].strip(): cells[4].strip() for row in rows if len(cells := row.strip("|").split("|")) == 5}
    claims = [c for c in lines(REFERENCE / "garments-gpu" / "claims.csv") if c["where"] == "released code"]
    assert len(claims) == 15
    for claim in claims:
        effect = [f"{float(claim[f'iou_{name}']):+.1f}" for name in ("ours", "low", "high")]
        option = re.split("[=,]", claim["claim"])[0]
        assert shown[f"`{option}`"] == "{} [{}, {}]".format(*effect).replace("-", "−")


#: Why a row of table `steps` is better than the one above it: a claim for each but the first.
GAINS = (
    "The class activation map improves the baseline",
    "The layers of the contrastive head add without their loss",
    "The contrastive loss adds to the layers of its head",
    "Novel masks would improve ContrastMask (something is left to gain)",
)


def test_the_readme_s_first_screen_shows_the_runs() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- steps of garments -->\n(.*?)\n<!-- end of steps -->", page, re.S)
    assert shown
    folder = REFERENCE / "garments"
    claims = {claim["claim"]: claim for claim in lines(folder / "claims.csv")}
    runs = defaultdict(list)
    for line in lines(folder / "runs.csv"):
        runs[line["run"]].append(line)
    rows = lines(folder / "tables" / "steps.csv")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown[1].splitlines()[2:]]
    assert len(cells) == len(rows) == 1 + len(GAINS)
    for row, gain, (_, iou, step, *rest) in zip(rows, (None, *GAINS), cells, strict=True):
        means = [
            f"{100 * fmean(float(line[column]) for line in runs[row['run']]):.1f}"
            for column in ("novel_IoU", "novel_AP", "base_IoU", "base_AP")
        ]
        assert [iou, *rest] == means
        if gain:
            effect = [f"{float(claims[gain][f'iou_{name}']):+.1f}" for name in ("ours", "low", "high")]
            assert step == "{} [{}, {}]".format(*effect).replace("-", "−")


# ---------------------------------------------------------------------------- how it is made


def test_evidence_is_tables_claims_and_a_line_a_run(tmp_path: Path) -> None:
    folder, out = tmp_path / "smoke", tmp_path / "reference" / "smoke"
    write_val(folder)
    for seed in (0, 1):
        write_run(folder, "a-run", 5, seed)
    (folder / "runs" / "a-run" / "seed1" / "train.json").write_text(
        json.dumps({"seconds": 7.5, "provenance": {"git.commit": "abc"}})
    )
    for name in ("claims.md", "tables/table2.csv", "tables/table2.md", "tables/table2.tex", "report/index.html"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    written = export_evidence(folder, out)
    assert sorted(written) == sorted(file for file in out.rglob("*") if file.is_file())
    names = {str(file.relative_to(out)) for file in written}
    assert names == {"claims.md", "tables/table2.csv", "tables/table2.md", "runs.csv"}
    first, second = lines(out / "runs.csv")
    metrics = json.loads((folder / "runs" / "a-run" / "seed0" / "metrics.json").read_text())
    assert (first["seed"], first["data_digest"], first["seconds"]) == ("0", "d1", "")
    assert (second["seconds"], second["git.commit"]) == ("7.5", "abc")
    assert set(MEASURED) <= set(first)
    segm, bbox, iou = metrics["segm"], metrics["bbox"], metrics["gt_box_miou"]
    names = ("novel_AP", "novel_AP75", "base_AP", "novel_box_AP", "novel_IoU", "base_IoU")
    measured = [segm["novel"]["AP"], segm["novel"]["AP75"], segm["base"]["AP"], bbox["novel"]["AP"]]
    assert [float(first[name]) for name in names] == [*measured, iou["novel"], iou["base"]]
    assert len({first[name] for name in names}) == len(names)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no evaluated run"):
        export_evidence(tmp_path, tmp_path / "out")
    file = tmp_path / "runs" / "a" / "seed0" / "metrics.json"
    file.parent.mkdir(parents=True)
    for content in ("{", "{}", "[]", json.dumps({"segm": 1})):
        file.write_text(content)
        with pytest.raises(DataError, match=r"seed0/metrics.json cannot be read"):
            export_evidence(tmp_path, tmp_path / "out")

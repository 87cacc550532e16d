"""Claims against made-up runs: the effect, the verdict, and what is said where runs are missing."""

import csv
import io
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from report.made_up import write_run, write_val

from contrastmask.cli.results import claims as command
from contrastmask.errors import ConfigError
from contrastmask.report.claims import COLUMNS, WORST_FIRST, Claim, Effect, claims, to_csv, to_markdown, verdict, worst
from contrastmask.report.compare import compare
from contrastmask.report.statements import load_statements

SMOKE = {"name": "smoke", "note": "A note.", "comparable": False}
PAPER = {"name": "paper", "note": "A note.", "comparable": True}
MAIN = "contrastmask-paper_r50_1x_nonvoc2voc"
#: How far off the masks of a run are; what is not here is not run.
SHIFTS = {
    "mask-rcnn_r50_1x_nonvoc2voc_mask_rois-gt": 40,
    f"{MAIN}_cl-off": 40,
    MAIN: 6,
    f"{MAIN}_sigma-0.1": 6,
    f"{MAIN}_sigma-0.2": 0,  # better than the main run: "0.3 is the best" is wrong here
    f"{MAIN}_sigma-0.6": 60,
    f"{MAIN}_tau-0.1": 60,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "smoke"
    write_val(folder)
    for run, shift in SHIFTS.items():
        write_run(folder, run, shift)
    write_run(folder, MAIN, 6, seed=1)
    write_run(folder, f"{MAIN}_cl-off", 40, seed=1)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[Claim]:
    return claims(folder, [0, 1], resamples=200)


def about(found: list[Claim], text: str) -> Claim:
    (claim,) = [claim for claim in found if text in claim.text]
    return claim


def effect(low: float, high: float, paper: float | None = None, pair: str = "") -> Effect:
    return Effect(pair, (low + high) / 2, low, high, paper, verdict(low, high))


# ---------------------------------------------------------------------------- what is claimed


def test_the_paper_effects_are_those_it_prints() -> None:
    """Differences in Tables 2-7 as a reader would take them, Sec. 5 from the text."""
    empty = claims(Path("nowhere"), [0])
    printed = {(claim.where, claim.by_ap.paper) for claim in empty}
    assert printed == {
        ("Table 2", 8.4), ("Table 2", 2.8), ("Sec. 4.2, Fig. 6", None), ("Sec. 4.2", None), ("Table 3", 0.1),
        ("Table 4", 0.4), ("Table 4", 2.0), ("Table 5", 0.7), ("Table 6", 1.6), ("Table 6", 1.7),
        ("Table 7", 2.4), ("Sec. 5", 1.4),
    }  # fmt: skip
    assert {claim.by_ap.verdict for claim in empty} == {"not run"}


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_statements_are_about_runs_of_the_preset(preset: str) -> None:
    runs = {run for statement in load_statements(preset) if not statement.beyond for run in statement.runs}
    assert {run.preset for run in runs} == {preset, "both"}


def test_what_the_paper_leaves_open_is_said_where_it_was_run(folder: Path) -> None:
    beyond = [statement for statement in load_statements("paper") if statement.beyond]
    assert beyond and not {statement.text for statement in beyond} & {claim.text for claim in claims(folder, [0])}
    without_loss = f"{MAIN}_cl_loss-off"
    write_run(folder, without_loss, 40)
    try:
        found = {claim.text: claim for claim in claims(folder, [0], resamples=200)}
        assert found["The contrastive loss adds to the layers of its head"].by_ap.verdict == "supported"
    finally:
        shutil.rmtree(folder / "runs" / without_loss)


def test_a_row_that_is_not_there_is_named(configs: Path) -> None:
    content = yaml.safe_load((configs / "claims.yaml").read_text())
    content["claims"][0]["better"] = [{"table": "table2", "row": "Baseline + XX"}]
    (configs / "claims.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"table2 has no row 'Baseline \+ XX' with a run; its rows: Baseline, "):
        load_statements("paper")
    content["claims"][0]["better"] = [{"table": "table2"}]
    (configs / "claims.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="'row' is a dependency of 'table'"):
        load_statements("paper")


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ({"options": {"tua": 0.5}}, "claims.yaml, 'Mine': method 'contrastmask' has no option 'tua'"),
        (
            {"setting": "voc2nonvoc"},
            "'Mine': .* nonvoc2voc, voc2nonvoc, whose novel categories differ: .*`subset: all`",
        ),
    ],
)
def test_a_claim_that_cannot_be_held_against_its_runs_is_named(configs: Path, better: dict, words: str) -> None:
    content = yaml.safe_load((configs / "claims.yaml").read_text())
    content["claims"].append({"text": "Mine", "where": "here", "better": [better], "than": [{}]})
    (configs / "claims.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=words):
        load_statements("paper")


def test_a_row_of_several_settings_is_told_by_its_setting(configs: Path) -> None:
    content = yaml.safe_load((configs / "claims.yaml").read_text())
    table = yaml.safe_load((configs / "tables" / "table2.yaml").read_text())
    del table["base"]["setting"]
    (configs / "tables" / "both.yaml").write_text(yaml.safe_dump(table | {"settings": ["nonvoc2voc", "voc2nonvoc"]}))

    def first_run(**more: object) -> str:
        content["claims"][0] |= {"better": [{"table": "both", "row": "Baseline + CM"} | more], "subset": "all"}
        (configs / "claims.yaml").write_text(yaml.safe_dump(content))
        return load_statements("paper")[0].better[0].run.setting

    assert [first_run(setting=setting) for setting in ("voc2nonvoc", "nonvoc2voc")] == ["voc2nonvoc", "nonvoc2voc"]
    for more, words in (
        ({}, "several settings; add one: nonvoc2voc, voc2nonvoc"),
        ({"setting": "upper2lower"}, "no row 'Baseline . CM' of setting upper2lower"),
        ({"options": {"sigma": 0.1}}, "options"),
    ):
        with pytest.raises(ConfigError, match=words):
            first_run(**more)


def test_a_label_that_several_rows_have_names_none(configs: Path) -> None:
    content = yaml.safe_load((configs / "claims.yaml").read_text())
    content["claims"][0] |= {"better": [{"table": "beyond", "row": "HG-52", "setting": "nonvoc2voc"}]}
    (configs / "claims.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="several rows 'HG-52'"):
        load_statements("paper")


# ---------------------------------------------------------------------------- verdicts


@given(st.floats(-5, 5), st.floats(0, 5))
def test_verdict(low: float, width: float) -> None:
    said = verdict(low, low + width)
    assert (said == "supported") == (low > 0)
    assert (said == "contradicted") == (low + width < 0)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 5)), min_size=1))
def test_a_claim_is_as_good_as_its_worst_pair(spans: list[tuple[float, float]]) -> None:
    pairs = [effect(low, low + width) for low, width in spans]
    decides = worst(pairs)
    said = {pair.verdict for pair in pairs}
    assert decides.verdict == next(v for v in WORST_FIRST if v in said)
    assert decides.low == min(pair.low for pair in pairs if pair.verdict == decides.verdict)  # type: ignore[type-var]


def test_one_missing_pair_leaves_a_claim_open() -> None:
    missing = [Effect("a", None, None, None, 2.0, "not run"), Effect("b", None, None, None, 1.0, "not run")]
    assert worst([effect(1, 2, 0.5), *missing]) == missing[1]


# ---------------------------------------------------------------------------- computed


def test_effects_are_those_of_compare(folder: Path, found: list[Claim]) -> None:
    claim = about(found, "contrastive learning head improves on")
    pair = compare(folder, f"{MAIN}_cl-off", MAIN, SMOKE, seeds=[0, 1], resamples=200)
    ap, *_, iou = 100 * pair.metrics[["gain", "low", "high"]].to_numpy()
    boxes = claim.by_iou
    assert claim.seeds == (0, 1)
    assert (claim.by_ap.ours, claim.by_ap.low, claim.by_ap.high) == pytest.approx(tuple(ap))
    assert (boxes.ours, boxes.low, boxes.high) == pytest.approx(tuple(iou))
    assert (claim.by_ap.verdict, boxes.verdict, claim.by_ap.paper, boxes.paper) == ("supported", "supported", 2.8, None)


def test_equal_runs_are_inconclusive(found: list[Claim]) -> None:
    claim = about(found, "class activation map improves")
    assert claim.by_ap.verdict == claim.by_iou.verdict == "inconclusive"
    assert claim.seeds == (0,)  # the baseline has no other


def test_best_of_is_decided_by_the_pair_that_contradicts(found: list[Claim]) -> None:
    claim = about(found, "best sampling ratio")
    assert (claim.by_ap.verdict, claim.by_ap.pair, claim.by_ap.paper) == ("contradicted", "sigma=0.3 - sigma=0.2", 0.4)
    assert claim.by_ap.high is not None and claim.by_ap.high < 0


def test_any_of_is_decided_by_its_worst_side(found: list[Claim]) -> None:
    claim = about(found, "matters little")
    assert claim.by_ap.pair == "sigma=0.6 - Baseline + CM" and claim.by_ap.paper == 2.0


def test_base_categories_are_measured_on_base(folder: Path, found: list[Claim]) -> None:
    claim = about(found, "base categories as well")
    pair = compare(folder, f"{MAIN}_cl-off", MAIN, SMOKE, seeds=[0, 1], subset="base", resamples=200)
    assert claim.by_ap.ours == pytest.approx(100 * pair.metrics["gain"][0])


def test_missing_runs_are_named(found: list[Claim]) -> None:
    claim = about(found, "tau = 0.7")
    assert (claim.by_ap.verdict, claim.by_ap.ours, claim.missing) == ("not run", None, (f"{MAIN}_tau-0.9",))


def test_a_damaged_run_counts_as_missing(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "smoke"))
    (copy / "runs" / f"{MAIN}_cl-off" / "seed0" / "gt_box_iou.csv").write_text("annotation_id,category_id,iou\nx,1,0\n")
    claim = about(claims(copy, [0], resamples=100), "contrastive learning head improves on")
    assert claim.by_ap.verdict == "not run" and claim.missing == (f"{MAIN}_cl-off",)
    assert "gt_box_iou.csv" in caplog.text or "cl-off" in caplog.text


# ---------------------------------------------------------------------------- files


def test_csv_holds_unrounded_numbers_and_the_scale(found: list[Claim]) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(found, SMOKE))))
    assert tuple(lines[0]) == COLUMNS and len(lines) == len(found)
    assert float(lines[1]["ours"]) == found[1].by_ap.ours
    assert {line["scale"] for line in lines} == {"smoke"} and {line["comparable"] for line in lines} == {"False"}


def test_each_measure_has_its_own_numbers_and_verdict() -> None:
    ap, iou = effect(1, 3, 2.0, "a - b"), effect(-5, -1, None, "c - d")
    claim = Claim("Text", "Table 9", "novel", ap, iou, (0, 1), ("r",))
    (line,) = csv.DictReader(io.StringIO(to_csv([claim], SMOKE)))
    said = ["Text", "Table 9", "novel", "a - b", "2.0", "1", "3", "2.0", "supported"]
    assert list(line.values()) == [
        *said, "c - d", "-3.0", "-5", "-1", "contradicted", "0 1", "r", "smoke", "False"
    ]  # fmt: skip
    row = next(line for line in to_markdown([claim], SMOKE).splitlines() if line.startswith("| Text"))
    cells = "+2.00 [+1.00, +3.00] | supported | -3.00 [-5.00, -1.00] | contradicted | a - b | 0, 1"
    assert row == f"| Text | Table 9 | +2.0 | {cells} |"


def test_markdown_carries_the_scale_and_its_note(found: list[Claim]) -> None:
    text = to_markdown(found, SMOKE)
    assert "Scale smoke: A note." in text and "Not comparable with the paper" in text
    assert "Not comparable" not in to_markdown(found, PAPER)
    assert f"{found[1].by_ap.ours:+.2f} [{found[1].by_ap.low:+.2f}, {found[1].by_ap.high:+.2f}] | supported" in text
    assert f"Runs that are missing: {MAIN}_cl_convs-4_cl_fcs-2, " in text


def test_a_verdict_from_one_seed_says_so(found: list[Claim]) -> None:
    lines = {claim.text: claim for claim in found}
    for line in to_markdown(found, SMOKE).splitlines():
        claim = lines.get(line.removeprefix("| ").split(" |")[0])
        if claim and claim.subset == "novel":
            assert line.count("(1 seed)") == (2 if len(claim.seeds) == 1 else 0)
    assert {len(claim.seeds) for claim in found} == {0, 1, 2}


def test_command(folder: Path) -> None:
    result = CliRunner().invoke(command, ["--results", str(folder.parent), "--resamples", "100"])
    assert result.exit_code == 0, result.output
    assert (folder / "claims.md").read_text() in result.output
    assert (folder / "claims.csv").read_text().startswith("claim,")

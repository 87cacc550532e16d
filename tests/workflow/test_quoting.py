"""Folders with spaces, quotes, dollars: what rules hand to a shell arrives as it was meant, and nothing is run."""

import json
import re
from pathlib import Path

import pytest
from end_to_end.chain import ROOT, fresh_project, snakemake

STRANGE = "it's a $(touch x) folder"
RESULTS = "it's `touch y` $(touch z)"
#: In the place of contrastmask/__main__.py: notes its arguments, and makes what a rule waits for.
FAKE = """
import json, sys
from pathlib import Path

verb, *words = sys.argv[1:]
with open("calls", "a") as calls:
    print(json.dumps([verb, *words]), file=calls)
value = lambda name: Path(words[words.index(f"--{name}") + 1])
made = {
    "train": lambda: [Path(words[0], name) for name in ("model.pth", "train.json")],
    "evaluate": lambda: [Path(words[0], name) for name in ("metrics.json", "detections.json.gz", "gt_box_iou.csv")],
    "diagnose": lambda: [Path(words[0], "prior.csv")],
    "prior": lambda: [Path(words[0], name) for name in ("prior.csv", "prior.md")],
    "split": lambda: [value("out") / name for name in
                      ("split.json", "instances_train.json", "instances_train_all_masks.json")],
    "shape-priors": lambda: [value("out"), value("out").with_suffix(".json")],
    "tables": lambda: [value("results") / str(value("scale")) / "tables" / f"{words[0]}.{end}"
                       for end in ("csv", "md", "html", "tex")],
    "figure": lambda: [Path(json.loads(str(value("settings")))["results"], "smoke", "figures", words[0] + end)
                       for end in (".png", ".pdf")],
    "claims": lambda: [value("results") / str(value("scale")) / name for name in ("claims.csv", "claims.md")],
    "report": lambda: [Path(json.loads(str(value("settings")))["results"], "smoke", "report", "index.html")],
}
for file in made.get(verb, lambda: [value("out")] if "--out" in words else [])():
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("made")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return fresh_project(tmp_path / STRANGE)


def nothing_was_run(project: Path) -> None:
    assert not {path.name for path in (*project.iterdir(), *project.parent.iterdir())} & {"x", "y", "z"}


def test_the_cheap_rules_work_there(project: Path) -> None:
    data = Path(RESULTS, "smoke", "data", "nonvoc2voc")
    targets = [str(data / name) for name in ("split.json", "shape_priors-K100-a1024.npz")]
    done = snakemake(project, *targets, "--config", f"results={RESULTS}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all((project / target).exists() for target in targets)
    nothing_was_run(project)


@pytest.mark.parametrize(
    ("targets", "changes", "verbs"),
    [
        (["table7", "claims", "prior"], [], {"prepare", "split", "train", "evaluate", "tables", "claims", "diagnose"}),
        (["gt-prior", "grabcut-sensitivity", "report"], ["tables=[table7]"], {"configure", "train", "report", "sync"}),
        (["table7", "download"], ["scale=paper", f"data_root=/{STRANGE}"], {"weights", "download"}),
    ],
)
def test_every_command_gets_what_was_meant(
    project: Path, targets: list[str], changes: list[str], verbs: set[str]
) -> None:
    (project / "contrastmask" / "__main__.py").write_text(FAKE)
    done = snakemake(project, *targets, "--config", f"results={RESULTS}", "gpus_per_run=1", *changes)
    assert done.returncode == 0, done.stdout + done.stderr
    calls = [json.loads(line) for line in (project / "calls").read_text().splitlines()]
    assert verbs <= {call[0] for call in calls}
    for verb, *words in calls:
        settings = [json.loads(word).get("results") for word in words if word.startswith("{")]
        paths = [word for word in words if "touch y" in word and not word.startswith("{")]
        assert all(path == RESULTS or path.startswith(f"{RESULTS}/") for path in paths), (verb, words)
        assert paths or RESULTS in settings or verb == "download", (verb, words)
    nothing_was_run(project)


def test_another_working_folder_gets_this_project_s_package(project: Path, tmp_path: Path) -> None:
    (project / "contrastmask" / "__main__.py").write_text(FAKE)
    done = snakemake(tmp_path, "--snakefile", str(project / "Snakefile"), "results/smoke/data/dataset.json")
    assert done.returncode == 0 and (tmp_path / "calls").exists(), done.stdout + done.stderr


def test_after_a_failure_the_table_that_was_asked_for_is_written_as_far_as_it_goes(project: Path) -> None:
    (project / "contrastmask" / "__main__.py").write_text(FAKE.replace('"train":', '"makes nothing":'))
    assert snakemake(project, "table7", "--keep-going", "--latency-wait", "0").returncode != 0
    calls = [json.loads(line) for line in (project / "calls").read_text().splitlines()]
    (words,) = [words for verb, *words in calls if verb == "tables"]
    assert words[:2] == ["table7", "--scale"] and "--folder=partial" in words


def test_results_that_are_no_name_are_refused_with_the_way_to_write_them(project: Path) -> None:
    for name, words in (("2025_11", "results=./2025_11"), ("a{b}", "No braces"), ("-a", "no -")):
        done = snakemake(project, "-n", "--config", f"results={name}")
        assert done.returncode != 0 and words in done.stdout + done.stderr, done.stderr
    assert snakemake(project, "-n", "table7", "--config", "results=./2025_11").returncode == 0


def test_the_linter_wants_nothing_but_an_environment_for_each_rule() -> None:
    """There is one for all of them: docs/design.md."""
    done = snakemake(ROOT, "--lint")
    found = set(re.findall(r"^    \* (.*)$", done.stdout + done.stderr, re.M))
    assert found <= {"Specify a conda environment or container for each rule.:"}, found

"""Every command in README and docs is one that the project knows.

Almost all of them train, download, or need COCO, a GPU, a cluster or root: they are parsed as their program parses
them, and what they name (verbs, options, settings, targets, files of configs/) must exist.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml

from contrastmask import paths
from contrastmask.cli import main
from contrastmask.config import load_tables, own_data, settings_with

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("make", "snakemake", "contrastmask")  # the others are the system's: only their syntax


@dataclass(frozen=True)
class Block:
    """A fenced part of a page."""

    page: str
    language: str
    text: str


def blocks() -> list[Block]:
    fence = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)
    return [Block(page.name, *found) for page in PAGES for found in fence.findall(page.read_text(encoding="utf-8"))]


def documented(program: str) -> list[list[str]]:
    """The distinct commands of a program, as words: in fenced blocks, and in backticks where they have arguments."""
    lines = [line for block in blocks() if not block.language for line in block.text.replace("\\\n", " ").splitlines()]
    for page in PAGES:
        lines += re.findall(r"`((?:make|snakemake|contrastmask) [^`\n]+)`", page.read_text(encoding="utf-8"))
    words = [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]
    return [list(command) for command in dict.fromkeys(tuple(line) for line in words if "…" not in line)]


def as_id(command: list[str]) -> str:
    return " ".join(command)[:80]


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """configs/ with what the pages say to add to it: tables, lists, and a scale, made by the pages' own commands."""
    folder = tmp_path_factory.mktemp("project") / "configs"
    shutil.copytree(ROOT / "configs", folder)
    (folder / "scales" / "mine.yaml").write_text(
        own_data.scale("mine", "coco-mini", {"kind": "folder", "root": "/data"}, 9)
    )
    (folder / "tables" / "mine.yaml").write_text(own_data.table("mine", "masks2boxes"))
    for block in blocks():
        content = yaml.safe_load(block.text) if block.language == "yaml" else {}
        if "rows" in content:
            (folder / "tables" / "table8.yaml").write_text(block.text, encoding="utf-8")
        elif "name" in content:
            (folder / "splits" / f"{content['name']}.yaml").write_text(block.text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CONFIGS", folder)
        yield folder


def test_the_pages_have_commands_of_every_program() -> None:
    assert all(map(documented, PROGRAMS))
    assert not documented("python")  # there is one command line


SHELL = [block for block in blocks() if re.match(r"(?:export|apt-get|install|eval|docker)\b", block.text)]


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.text[:30])
def test_shell_commands_can_be_parsed(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "docs"], ids=lambda page: page.stem)
def test_a_page_says_where_to_go_on_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:\s]+)\)", text):
        assert (page.parent / link).exists(), link
    if page.stem not in ("index", "evidence"):  # the one is nothing but links; the other ends with its commands
        first, last = text.split("\n")[2], text.rstrip().split("\n\n")[-1]
        assert re.match(r"\*{0,2}[A-Z]", first) and last.startswith("Next: [")


def test_targets_of_make_exist() -> None:
    targets = {word for command in documented("make") for word in command[1:] if "=" not in word}
    subprocess.run(["make", "-n", *sorted(targets)], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("command", documented("contrastmask"), ids=as_id)
def test_verbs_know_their_arguments(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "frames", "photo.jpg"):
        Path(name).mkdir()
    verb, *arguments = command[1:]
    if verb.startswith("-"):
        assert verb == "--help"
    elif verb.islower() and "--help" not in arguments:
        context = click.Context(main)
        found = main.get_command(context, verb)
        assert found is not None, verb
        if arguments:  # otherwise the text only names the verb
            found.make_context(verb, arguments, context)


@pytest.mark.parametrize("command", documented("snakemake"), ids=as_id)
def test_snakemake_finds_settings_tables_and_targets(command: list[str], configs: Path) -> None:
    from snakemake.cli import get_argument_parser

    given = get_argument_parser().parse_args([word if word != "N" else "2" for word in command[1:]])
    changes = dict(setting.split("=", 1) for setting in given.config or [])
    loaded = settings_with({k: yaml.safe_load(v) for k, v in changes.items()})
    tables = {path.stem for path in (configs / "tables").glob("*.yaml")}
    workflow = "".join(file.read_text() for file in (ROOT / "workflow").rglob("*.smk"))
    known = set(re.findall(r"rule (\w+):", workflow)) | tables | {"figure6", "figure7", "objects"}
    assert set(loaded.tables) <= tables
    targets = [*given.targets, *(given.forcerun or ())]
    assert all(target in known or target.startswith("results/") for target in targets), targets


def test_the_tables_that_pages_show_can_be_read(configs: Path) -> None:
    assert {"table8", "mine"} <= set(load_tables(settings_with({})))

"""`contrastmask tables`: from metrics.json to files, and to the screen."""

from pathlib import Path

from click.testing import CliRunner

from contrastmask.cli import main


def tables(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["tables", *map(str, arguments)])
    return done.exit_code, done.output


def test_paths_are_printed_and_files_are_there(tmp_path: Path) -> None:
    code, text = tables("table4", "table7", "--scale", "smoke", "--results", tmp_path, "--seeds", "0,1")
    paths = text.splitlines()
    assert code == 0 and len(paths) == 8 and all(Path(path).exists() for path in paths)
    assert {Path(path).parent for path in paths} == {tmp_path / "smoke" / "tables"}


def test_print_shows_the_table(tmp_path: Path) -> None:
    code, text = tables("table4", "--results", tmp_path, "--print", "--folder", "partial")
    assert code == 0 and text.startswith("# Table 4.")
    assert (tmp_path / "smoke" / "partial" / "table4.csv").exists()


def test_wrong_names_and_seeds_are_refused(tmp_path: Path) -> None:
    for arguments, said in (
        (["table99"], "files in that folder"),
        (["table4", "--scale", "smok"], "files in that folder"),
        (["table4", "--seeds", "0,x"], "whole numbers"),
        (["table4", "--preset", "other"], "paper"),
        ([], "TABLE"),
    ):
        code, text = tables(*arguments, "--results", tmp_path)
        assert code == 2 and said in text, text
    assert not list(tmp_path.iterdir())

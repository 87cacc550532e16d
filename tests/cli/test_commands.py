"""The group of verbs: help, completion, and how errors end."""

import errno
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from contrastmask.cli import STEPS, VERBS, Verbs, main, run_options
from contrastmask.errors import ConfigError, DataError, Failed, GpuError

THERE = main.list_commands(click.Context(main))


def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(arguments), prog_name="contrastmask", env=env)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_help_lists_every_verb_that_is_there_and_the_exit_codes() -> None:
    code, text = run("--help")
    assert code == 0
    for verb in THERE:
        assert re.search(rf"^  {verb} +{re.escape((VERBS | STEPS)[verb].short_help[:20])}", text, re.M)
    for word in ("Examples:", "Exit codes:", "128+n", "_CONTRASTMASK_COMPLETE"):
        assert word in text


@pytest.mark.parametrize("verb", THERE)
def test_each_verb_explains_itself_with_examples(verb: str) -> None:
    code, text = run(verb, "--help")
    assert code == 0
    assert f"contrastmask {verb} " in text.split("Examples:")[1]


def test_help_imports_no_torch() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from contrastmask.cli import VERBS, main\n"
        f"for verb in ['--help', *{[[verb, '--help'] for verb in THERE]}]:\n"
        "    assert CliRunner().invoke(main, verb).exit_code == 0, verb\n"
        "print(sorted({'torch', 'mmengine', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "contrastmask", "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "Usage: contrastmask" in done.stderr


class One(Verbs):
    """A group whose only verb raises."""

    error: BaseException

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        def fail() -> None:
            raise self.error

        return click.Command("fail", callback=fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("mend this"), 2),
        (DataError("mend this"), 2),
        (GpuError("mend this"), 2),
        (Failed("mend this"), 1),
        (OSError(errno.ENOSPC, "mend this"), 1),
    ],
)
def test_errors_that_a_person_can_mend_are_one_message_and_a_code(error: Exception, code: int) -> None:
    group = One()
    group.error = error
    done = CliRunner().invoke(group, ["fail"])
    assert (done.exit_code, type(done.exception)) == (code, SystemExit)
    assert done.stderr.startswith("Error: ") and "mend this" in done.stderr


def test_ctrl_c_is_130_and_a_bug_shows_itself() -> None:
    group = One()
    group.error = KeyboardInterrupt()
    assert CliRunner().invoke(group, ["fail"]).exit_code == 130
    group.error = ZeroDivisionError()
    assert isinstance(CliRunner().invoke(group, ["fail"]).exception, ZeroDivisionError)


def test_wrong_input_is_said_before_any_work(tmp_path: Path) -> None:
    known = "mask-rcnn_r50_1x_nonvoc2voc"
    for arguments, said in (
        (["nothing"], "has the run 'nothing'"),
        ([known, "--settings", "[1"], "not JSON"),
        ([known, "--settings", "[" * 100_000], "not JSON"),
        ([known, "--settings", "[1]"], "JSON object"),
        ([known, "--config", "scale=smok"], "files in that folder"),
        ([known, "--config", "scale=paper"], "data_root"),
        (["--config", "scale=paper", "seeds=[0,1]", known], "--config data_root=FOLDER"),
        ([known, "--config", "scale"], "KEY=VALUE"),
        ([known, "--config", "seeds=[0"], "cannot be read as YAML"),
        ([known, "--config", "seeds=2020-01-01"], "is not of type 'integer'"),  # YAML has types JSON lacks
        ([known, "--seed", "-1"], "--seed"),
        ([known, "--seed", str(2**32)], "0<=x<=4294967295"),
    ):
        code, text = run("configure", *arguments)
        assert code == 2 and said in text, text


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "--out", ""),
        ("compare", "a", "b", "--html", ""),
        ("init", ""),
        ("evaluate", ""),
        ("tables", "table7", "--results", ""),
        ("predict", "x.jpg", "--model", ""),
    ],
)
def test_the_empty_text_of_a_variable_that_is_not_set_is_no_path(arguments: tuple[str, ...]) -> None:
    code, text = run(*arguments)
    assert code == 2 and "an empty text is no path" in text


def test_a_configuration_for_mmengine_is_a_python_file(tmp_path: Path) -> None:
    code, text = run("export-config", str(tmp_path), "--out", str(tmp_path / "x.txt"))
    assert code == 2 and "must end in .py" in text


@pytest.mark.parametrize("verb", ["train", "evaluate", "diagnose"])
def test_a_folder_that_is_no_run_is_refused_before_any_work(verb: str, tmp_path: Path) -> None:
    known = "mask-rcnn_r50_1x_nonvoc2voc"
    code, folder = run("configure", known, "--config", f"results={tmp_path}")
    assert code == 0
    (tmp_path / "empty").mkdir()
    for arguments, said in (
        ([], "RUN_DIR"),
        ([str(tmp_path / "nowhere")], "does not exist"),
        ([str(tmp_path / "empty")], "contrastmask configure RUN"),
        ([folder.strip()], "snakemake --cores 1"),  # the data is not there
    ):
        code, text = run(verb, *arguments)
        assert code == 2 and said in text, text


def test_config_takes_what_follows_as_for_snakemake() -> None:
    seen: dict[str, Any] = {}

    @click.command(cls=run_options.WithConfig)
    @click.argument("tables", nargs=-1)
    @run_options.settings_options
    @click.option("--quiet", is_flag=True)
    def command(tables: tuple[str, ...], changes: dict[str, Any], quiet: bool) -> None:
        seen.update(changes, tables=tables, quiet=quiet)

    line = ["a", "--settings", '{"seeds": [0], "scale": "smoke"}', "--config", "scale=paper", "x={a: 1=2}", "--quiet"]
    done = CliRunner().invoke(command, [*line, "b", "c=d"])
    assert done.exit_code == 0, done.output
    wanted = {"seeds": [0], "scale": "paper", "x": {"a": "1=2"}}
    assert seen == wanted | {"tables": ("a", "b", "c=d"), "quiet": True}


def complete(words: str) -> list[str]:
    """What TAB offers for the last word."""
    env = {"_CONTRASTMASK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    return [line.split(",")[1] for line in run(env=env)[1].splitlines()]


def test_completion_knows_verbs_scales_and_runs(tmp_path: Path) -> None:
    for scale, name in (("smoke", "opmask"), ("smoke", "mask-rcnn"), ("paper", "opmask-x")):
        (tmp_path / scale / "runs" / name).mkdir(parents=True)
    assert complete("contrastmask ex") == ["export", "export-config"]
    assert complete("contrastmask predict --scale sm") == ["smoke"]
    assert complete(f"contrastmask export --results {tmp_path} --run op") == ["opmask", "opmask-x"]
    assert complete(f"contrastmask export --results {tmp_path} --scale smoke --run op") == ["opmask"]

"""The options that name a run, the same for every verb, with completion from what is there."""

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import yaml
from click.shell_completion import CompletionItem

from contrastmask import paths
from contrastmask.config import Settings, settings_with
from contrastmask.config.options import PRESETS
from contrastmask.config.settings import read_scale
from contrastmask.config.yamlfiles import load_yaml, read_yaml


class Place(click.Path):
    """A path; not the empty text of a variable that is not set, which pathlib takes for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty text is no path", param, ctx)
        return super().convert(value, param, ctx)


PATH = Place(path_type=Path)
FOLDER = Place(path_type=Path, file_okay=False)
FILE = Place(path_type=Path, dir_okay=False)
EXISTING_FILE = Place(path_type=Path, dir_okay=False, exists=True)
EXISTING_FOLDER = Place(path_type=Path, file_okay=False, exists=True)


def json_object(text: str) -> dict[str, Any]:
    """Type of an option: a JSON object."""
    try:
        decoded = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise click.BadParameter('give a JSON object such as \'{"data_root": "/data/coco"}\'')
    return decoded


def setting(text: str) -> tuple[str, Any]:
    """Type of an option: KEY=VALUE, the value read as YAML, as Snakemake reads --config."""
    key, given, value = text.partition("=")
    if not given or not key:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE, such as scale=paper")
    try:
        return key, load_yaml(value)
    except yaml.YAMLError:
        raise click.BadParameter(f"the value of {key} cannot be read as YAML: {value!r}") from None


def name(text: str) -> str:
    """Type of an option: a part of a path that cannot leave its folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise click.BadParameter(
            f"{text!r} is no name: give letters, digits, '_', '-' and '.', a letter or digit first"
        )
    return text


def numbers(text: str) -> list[int]:
    """Type of an option: whole numbers between commas, none twice."""
    found = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(set(found)) <= text.count(","):
        raise click.BadParameter(f"{text!r} is not whole numbers between commas, each once, such as 0,1,2")
    return found


class WithConfig(click.Command):
    """A command whose --config takes every KEY=VALUE that follows it, as Snakemake's does; click's would take one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_one_each(args)))


def _one_each(args: list[str]) -> Iterator[str]:
    """`--config a=1 b=2` as `--config a=1 --config b=2`."""
    within = False
    for before, word in zip(["", *args], args, strict=False):
        within = before == "--config" or (within and re.match(r"[A-Za-z_]\w*=", word) is not None)
        if within and before != "--config":
            yield "--config"
        yield word


def _scales(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _beginning(incomplete, (path.stem for path in (paths.CONFIGS / "scales").glob("*.yaml")))


def _runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs that have a folder, at the scale given so far or at any."""
    results, scale = ctx.params.get("results") or Path("results"), ctx.params.get("scale") or "*"
    return _beginning(incomplete, {path.name for path in results.glob(f"{scale}/runs/*")})


def _beginning(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


scale_option = click.option(
    "--scale",
    type=name,
    shell_complete=_scales,
    help="A file in configs/scales.  [default: that of configs/config.yaml]",
)
results_option = click.option(
    "--results", type=FOLDER, help="Folder of results.  [default: that of configs/config.yaml]"
)
preset_option = click.option(
    "--preset", type=click.Choice(PRESETS), help="Of rows that name none.  [default: that of configs/config.yaml]"
)
resamples_option = click.option(
    "--resamples", type=click.IntRange(min=100), default=1000, show_default=True, help="Of the bootstrap."
)
config_option = click.option(
    "--config",
    multiple=True,
    type=setting,
    metavar="KEY=VALUE...",
    help="What differs from configs/config.yaml, as for snakemake: several may follow.",
)


def seeds_option(default: str) -> Callable[[Any], Any]:
    """Decorator that gives a command --seeds; `default` says which they are otherwise."""
    return click.option("--seeds", type=numbers, help=f"Seeds, such as 0,1,2.  [default: {default}]")


def run_options(required: bool = True) -> Callable[[Any], Any]:
    """Decorator that gives a command --run, --seed, --scale and --results."""
    options = (
        click.option(
            "--run",
            required=required,
            type=name,
            shell_complete=_runs,
            help="Id of the run: a folder in results/<scale>/runs; the column `run` of a table's csv.",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the run."),
        scale_option,
        results_option,
    )

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def run_folder(command: Any) -> Any:
    """Decorator that gives a command RUN_DIR, the folder of a run with its config.json."""
    return click.argument("folder", metavar="RUN_DIR", type=EXISTING_FOLDER)(command)


def settings_options(command: Any) -> Any:
    """Decorator that gives a command of class WithConfig `changes`, a dict of what differs from configs/config.yaml."""

    @config_option
    @click.option(
        "--settings",
        type=json_object,
        metavar="JSON",
        default="{}",
        help="The same as JSON: how the workflow's rules hand it on.",
    )
    @functools.wraps(command)
    def with_changes(*args: Any, config: tuple[tuple[str, Any], ...], settings: dict[str, Any], **kwargs: Any) -> Any:
        return command(*args, changes=settings | dict(config), **kwargs)

    return with_changes


def load(changes: dict[str, Any], scale: str | None = None, results: Path | None = None) -> Settings:
    """Settings of configs/config.yaml with what the command line changes; ConfigError naming the key and the fix."""
    return settings_with(changes | _given(scale=scale, results=results and str(results)))


def asked(**options: Any) -> dict[str, Any]:
    """configs/config.yaml with the options that the command line gave; `results` as a path. Data need not be there."""
    config = read_yaml(paths.CONFIGS / "config.yaml", "config") | _given(**options)
    return config | {"results": Path(config["results"])}


def scale_of(asked: dict[str, Any]) -> dict[str, Any]:
    """The file in configs/scales that `asked` names."""
    return read_scale(asked["scale"])


def _given(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}

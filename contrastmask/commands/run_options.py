"""The options that name a run, the same for every verb, with completion from what is there."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from contrastmask.experiment import Settings, settings_from_json
from contrastmask.options import PRESETS
from contrastmask.yamlfiles import CONFIGS, read_yaml


class JsonObject(click.ParamType):
    """A JSON object, as a dict."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            decoded = json.loads(value) if isinstance(value, str) else value
        except (json.JSONDecodeError, RecursionError) as error:
            self.fail(f"not JSON: {error}", param, ctx)
        if not isinstance(decoded, dict):
            self.fail('give a JSON object such as \'{"data_root": "/data/coco"}\'', param, ctx)
        return decoded


class Numbers(click.ParamType):
    """Whole numbers between commas, as a list."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        if not all(part.strip().isdigit() for part in value.split(",")):
            self.fail(f"{value!r} is not whole numbers between commas, such as 0,1,2", param, ctx)
        return [int(part) for part in value.split(",")]


def _scales(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _beginning(incomplete, (path.stem for path in (CONFIGS / "scales").glob("*.yaml")))


def _runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs that have a folder, at the scale given so far or at any."""
    results, scale = ctx.params.get("results") or Path("results"), ctx.params.get("scale") or "*"
    return _beginning(incomplete, {path.name for path in results.glob(f"{scale}/runs/*")})


def _beginning(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


scale_option = click.option(
    "--scale", shell_complete=_scales, help="A file in configs/scales.  [default: that of configs/config.yaml]"
)
results_option = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of results.  [default: that of configs/config.yaml]",
)
preset_option = click.option(
    "--preset", type=click.Choice(PRESETS), help="Of rows that name none.  [default: that of configs/config.yaml]"
)
settings_option = click.option(
    "--settings",
    "changes",
    type=JsonObject(),
    default="{}",
    help="JSON of what differs from configs/config.yaml: how the rules of the workflow hand it on.",
)


def seeds_option(default: str) -> Callable[[Any], Any]:
    """Decorator that gives a command --seeds; `default` says which they are otherwise."""
    return click.option("--seeds", type=Numbers(), help=f"Seeds, such as 0,1,2.  [default: {default}]")


def run_options(required: bool = True) -> Callable[[Any], Any]:
    """Decorator that gives a command --run, --seed, --scale and --results."""
    options = (
        click.option(
            "--run",
            required=required,
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


def load(changes: dict[str, Any], scale: str | None, results: Path | None) -> Settings:
    """Settings of configs/config.yaml with what the command line changes.

    Raises:
        ConfigError: naming the key and the fix.
    """
    return settings_from_json(json.dumps(changes | given(scale=scale, results=results and str(results))))


def defaults() -> dict[str, Any]:
    """configs/config.yaml."""
    return read_yaml(CONFIGS / "config.yaml", "config")


def given(**options: Any) -> dict[str, Any]:
    """The options that the command line gave."""
    return {key: value for key, value in options.items() if value is not None}

"""The `contrastmask` command, the only command line: one verb a file, loaded when called, so that help needs no torch.

`contrastmask/cli/<verb>.py` (`_` for `-`) holds a click command named `command`. Errors that a person can mend end
here, with one message and a code, never with a traceback; a bug still shows its traceback.
"""

import importlib
import importlib.util
import json
import signal
from typing import Any

import click
import yaml

from contrastmask.errors import ConfigError, DataError, Failed, GpuError, OptionError
from contrastmask.runtime.terminal import lose_no_output, visible

#: Verb: what stands beside it in the list of verbs.
VERBS = {
    "download": "Fetch COCO 2017.",
    "plan": "Say what is left to run, and what it will cost.",
    "configure": "Write down everything that is decided about runs.",
    "init": "Look at a folder of your own data, and write its scale and table.",
    "look": "Draw training images with what training learns from.",
    "split-data": "Split one annotation file into train and val.",
    "train": "Train one run, or go on with it where it stopped.",
    "evaluate": "Measure a run on the validation images.",
    "tables": "Write tables from what was measured.",
    "report": "Write the report of all tables as one page.",
    "figure": "Draw Figure 6 or 7, or novel objects as several rows segment them.",
    "evidence": "Copy tables, claims and digests to where they are committed.",
    "claims": "Say which of the paper's claims the runs support.",
    "compare": "Say how two runs differ, in configuration and results.",
    "diagnose": "Say how good a trained class activation map is as a prior.",
    "predict": "Find objects in your own images with a trained model.",
    "export": "Write a trained model as a folder to share.",
    "export-config": "Write a run as an mmdet configuration.",
    "sync": "Bring MLflow up to date with the files of the runs.",
    "ui": "Open MLflow on the runs.",
}
#: What the workflow's rules call, and a person seldom.
STEPS = {
    "prepare": "Verify a data set, or draw a synthetic one.",
    "split": "Replace every novel mask by its box.",
    "shape-priors": "Cluster base masks into ShapeMask's priors.",
    "weights": "Fetch a backbone's ImageNet weights and check that they fit.",
    "prior": "Compare what `diagnose` found of several runs.",
}


class WrongInput(click.ClickException):
    """Something that the caller must change."""

    exit_code = 2


def _module(verb: str) -> str:
    return f"{__name__}.{verb.replace('-', '_')}"


class Verbs(click.Group):
    """Finds a verb's module when it is needed. A verb without a module is not listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verb in VERBS | STEPS if importlib.util.find_spec(_module(verb))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module(_module(cmd_name)).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        there = self.list_commands(ctx)
        for title, verbs in (("Verbs", VERBS), ("Steps of the workflow", STEPS)):
            with formatter.section(title):
                formatter.write_dl([(verb, text) for verb, text in verbs.items() if verb in there])

    def invoke(self, ctx: click.Context) -> Any:
        lose_no_output()
        try:
            return super().invoke(ctx)
        except (ConfigError, OptionError, DataError, GpuError) as error:
            raise WrongInput(visible(str(error))) from error
        except (UnicodeError, json.JSONDecodeError, yaml.YAMLError) as error:  # no code of ours is text that it reads
            raise WrongInput(visible(f"a file or an argument is not the text that it should be: {error}")) from error
        except BrokenPipeError:
            raise  # the reader of our output has enough: click ends quietly
        except (Failed, OSError) as error:
            raise click.ClickException(visible(str(error))) from error
        except KeyboardInterrupt:
            ctx.exit(128 + signal.SIGINT)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="contrastmask")
def main() -> None:
    """ContrastMask (CVPR 2022), reproduced: train, measure and use detectors that segment what they know by boxes only.

    Tables of many runs are made by `snakemake --cores 2` (or `make tables`), which calls these verbs; here is each by
    itself. `contrastmask VERB --help` explains one.

    \b
    Examples:
      contrastmask train results/smoke/runs/mask-rcnn_r50_1x_nonvoc2voc/seed0
      contrastmask predict photos/ --run contrastmask-paper_r50_1x_nonvoc2voc --scale paper
      contrastmask export --run contrastmask-paper_r50_1x_nonvoc2voc --scale paper --out contrastmask-r50

    \b
    Exit codes:
      0      done
      1      something failed: the disk is full, an image cannot be read, …
      2      wrong input: the message says what to change
      128+n  stopped by signal n: 130 Ctrl-C, 143 SIGTERM

    \b
    Completion with TAB, in bash (also: zsh, fish):
      eval "$(_CONTRASTMASK_COMPLETE=bash_source contrastmask)"
    """

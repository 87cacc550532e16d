"""The `contrastmask` command, the only command line.

A verb is a click command that imports what it needs when it is called, so that help needs no torch. Errors that a
person can mend end here, with one message and a code, never with a traceback; a bug still shows its traceback.
"""

import json
import signal
from typing import Any

import click
import yaml

from contrastmask.cli import data, models, results, runs, tracking
from contrastmask.errors import ConfigError, DataError, Failed, GpuError
from contrastmask.runtime.terminal import lose_no_output, visible

#: In the order of help.
VERBS = {
    verb.name: verb
    for verb in (
        data.download, runs.plan, runs.configure, data.init, data.look, data.split_data, runs.train, runs.evaluate,
        results.tables, results.report, results.figure, results.evidence, results.claims, results.compare,
        runs.diagnose, models.predict, models.export, models.log_model, runs.export_config, tracking.sync,
        tracking.ui,
    )
}  # fmt: skip
#: What the workflow's rules call, and a person seldom.
STEPS = {verb.name: verb for verb in (data.prepare, data.split, data.shape_priors, data.weights, results.prior)}


class WrongInput(click.ClickException):
    """Something that the caller must change."""

    exit_code = 2


class Verbs(click.Group):
    """Lists verbs in their order, steps of the workflow apart; says errors that a person can mend."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in (("Verbs", VERBS), ("Steps of the workflow", STEPS)):
            with formatter.section(title):
                formatter.write_dl([(str(name), str(verb.short_help)) for name, verb in verbs.items()])

    def invoke(self, ctx: click.Context) -> Any:
        lose_no_output()
        try:
            return super().invoke(ctx)
        except (ConfigError, DataError, GpuError) as error:
            raise WrongInput(visible(str(error))) from error
        except (UnicodeError, json.JSONDecodeError, yaml.YAMLError) as error:  # no code of ours is text that it reads
            raise WrongInput(visible(f"a file or an argument is not the text that it should be: {error}")) from error
        except BrokenPipeError:
            raise  # the reader of our output has enough: click ends quietly
        except (Failed, OSError) as error:
            raise click.ClickException(visible(str(error))) from error
        except KeyboardInterrupt:
            ctx.exit(128 + signal.SIGINT)


@click.group(
    cls=Verbs,
    commands=VERBS | STEPS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
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

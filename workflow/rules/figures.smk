# Figures 6 and 7, of the runs that configs/figures.yaml names; left out where no wanted table has these.
from contrastmask.report.figures import figure_runs


def figures_wanted():
    """The figures whose runs are among those of the wanted tables."""
    try:
        runs = {name: figure_runs(name, SETTINGS.preset) for name in ("figure6", "figure7")}
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    return {name: specs for name, specs in runs.items() if all(spec.id in RUNS for spec in specs)}


def figure_files(name):
    return [str(OUT / "figures" / f"{name}{suffix}") for suffix in (".png", ".pdf")]


def figure_inputs(name, specs):
    """What a figure reads of its runs: detections, or the model."""
    file = "detections.json.gz" if name == "figure6" else "model.pth"
    return [str(SETTINGS.run_folder(spec.id, SETTINGS.seeds[0]) / file) for spec in specs]


FIGURES = figures_wanted()

for figure, specs in FIGURES.items():

    rule:
        name:
            figure
        input:
            figure_inputs(figure, specs),
            str(SETTINGS.split(specs[0].setting)),
            experiment.CONFIGS / "figures.yaml",
        output:
            figure_files(figure),
        log:
            str(OUT / "logs" / "figures" / f"{figure}.log"),
        threads: SETTINGS.scale["threads"]
        params:
            figure=figure,
        message:
            "Drawing {params.figure}"
        shell:
            "{PYTHON} -m contrastmask.engine.figures {params.figure} --settings {SETTINGS_JSON:q} > {log:q} 2>&1"

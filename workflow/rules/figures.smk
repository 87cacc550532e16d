# Figures 6 and 7 and `objects`, of the runs that configs/figures.yaml names.
from contrastmask.report.figures import TEXTS, figure_rows


def load_figures():
    """The runs of each figure, or one readable error before any work starts."""
    try:
        return {name: list(figure_rows(name, SETTINGS.preset, scale=SETTINGS.scale).values()) for name in TEXTS}
    except ValueError as error:
        raise WorkflowError(str(error)) from None


FIGURES = load_figures()


def figure_files(name):
    return [str(OUT / "figures" / f"{name}{suffix}") for suffix in (".png", ".pdf")]


def figure_inputs(name, specs):
    """What a figure reads of its runs: detections, or the model."""
    file = "detections.json.gz" if name == "figure6" else "model.pth"
    return [str(SETTINGS.run_folder(spec.id, SETTINGS.seeds[0]) / file) for spec in specs]


def figures_for_free():
    """Files of the figures whose runs the wanted tables need anyway."""
    wanted = experiment.all_runs({name: TABLES[name] for name in SETTINGS.tables})
    names = [name for name, specs in FIGURES.items() if all(spec.id in wanted for spec in specs)]
    return [file for name in names for file in figure_files(name)]


for figure, specs in FIGURES.items():

    rule:
        name:
            figure
        input:
            figure_inputs(figure, specs),
            str(SETTINGS.split(specs[0].setting)),
            config_file("figures.yaml"),
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
            "{PYTHON} -m contrastmask figure {params.figure} --settings {SETTINGS_JSON:q} > {log:q} 2>&1"

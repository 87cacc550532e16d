# Figures 6 and 7 and `objects`, of the runs that configs/figures.yaml names.
for figure, specs in FIGURES.items():

    rule:
        name:
            figure
        input:
            figure_inputs(figure, specs),
            str(SETTINGS.split(specs[0].setting)),
            config_file("figures.yaml"),
        output:
            in_report(figure_files(figure), ".png", "figures"),
        log:
            str(OUT / "logs" / "figures" / f"{figure}.log"),
        threads: SETTINGS.scale["threads"]
        params:
            figure=figure,
        message:
            "Drawing {params.figure}"
        shell:
            'contrastmask figure {params.figure:q} --settings "$settings" > {log:q} 2>&1'

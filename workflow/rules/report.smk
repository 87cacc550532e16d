# One page with every table, the runs behind its cells, plots and figures. By hand, also half-way:
# python -m contrastmask.commands.report


rule report:
    input:
        table_files(TABLES),
        [figure_files(figure) for figure in FIGURES],
    output:
        str(OUT / "report" / "index.html"),
    log:
        str(OUT / "logs" / "report.log"),
    localrule: True
    message:
        "Writing the report: {output}"
    shell:
        "{PYTHON} -m contrastmask.commands.report --settings {SETTINGS_JSON:q} > {log:q} 2>&1"

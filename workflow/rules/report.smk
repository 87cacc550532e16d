# One page with every wanted table, the runs behind its cells, plots and figures. By hand, also half-way:
# contrastmask report


rule report:
    input:
        table_files(SETTINGS.tables),
        figures_for_free(),
    output:
        str(OUT / "report" / "index.html"),
    log:
        str(OUT / "logs" / "report.log"),
    localrule: True
    message:
        "Writing the report: {output}"
    shell:
        "{PYTHON} -m contrastmask report --settings {SETTINGS_JSON:q} > {log:q} 2>&1"

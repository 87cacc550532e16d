# One page with every wanted table, the runs behind its cells, plots and figures. By hand, also half-way:
# contrastmask report


rule report:
    input:
        table_files(SETTINGS.tables),
        figures_for_free(),
    output:
        in_report([str(OUT / "report" / "index.html")], ".html", "page"),
    log:
        str(OUT / "logs" / "report.log"),
    localrule: True
    params:
        other_measurements=other_measurements(),
    message:
        "Writing the report: {output}"
    shell:
        'contrastmask report --settings "$settings" > {log:q} 2>&1'

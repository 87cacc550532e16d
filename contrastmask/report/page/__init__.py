"""The report: one self-contained page with every table, the runs behind each cell, plots, and what is missing."""

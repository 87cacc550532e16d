"""This project's preset `official` beside the authors' released code: `make parity THEIRS=<checkout>`."""

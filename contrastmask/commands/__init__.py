"""The verbs of the `contrastmask` command, one a file."""

"""The commands that a person types, one verb a file."""

"""The commands of the project; each runs as ``python -m entrypoints.<name>``."""

"""One script per question: `python -m experiments.NAME --help`."""

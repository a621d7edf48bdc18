"""Runs to look at: a page of each, and an index: `python -m experiments.report`."""

"""The nearest-class-mean law, to first order in eps = 1 - p."""

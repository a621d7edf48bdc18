"""Kernel regression on features with noise; knows nothing of networks."""

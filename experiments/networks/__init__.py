"""Trained networks alone."""

"""Accuracy of trained networks over levels of corruption."""

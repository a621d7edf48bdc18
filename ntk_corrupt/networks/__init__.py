"""Flax networks of an architecture: fully connected, convolutional, two-layer."""

"""Spectral truncation."""

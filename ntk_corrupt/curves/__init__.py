"""Curves of accuracy: fits, crossings, scaling, intervals."""

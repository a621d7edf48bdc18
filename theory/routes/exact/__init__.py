"""Exact infinite width: one kernel per corruption draw."""

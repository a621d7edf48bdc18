"""Closed forms of networks of one hidden layer."""

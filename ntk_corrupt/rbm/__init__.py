"""Restricted Boltzmann machines, and classifiers made of them."""

"""Clusters with wrong labels."""

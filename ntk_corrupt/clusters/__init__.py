"""Clusters with wrong labels: points, descent, Jacobians, theorems."""

"""Wrong labels: early stopping, clusters, spectral truncation."""

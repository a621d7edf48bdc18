"""Wrong labels: made, found, and outlived by stopping early."""

from ntk_corrupt.label_noise.labels import corrupt_labels as corrupt_labels

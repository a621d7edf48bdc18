"""The kernel of corrupted images: its mean, and its linear response to their noise."""

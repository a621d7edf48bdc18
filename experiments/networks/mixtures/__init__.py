"""Clean images beside corrupted ones."""

"""The law of networks that see every corrupted image once."""

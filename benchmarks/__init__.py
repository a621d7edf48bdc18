"""Speed and memory, against other ways and the hardware limit; scripts, not tests."""

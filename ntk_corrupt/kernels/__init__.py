"""Kernels of finite networks, and convolutional ones."""

"""The laws against kernels and networks."""

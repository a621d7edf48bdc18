"""Numbers near their edges, blocks of kernels, memory, devices, linear solves."""

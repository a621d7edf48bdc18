"""What goes on inside networks: margins and empirical kernels."""

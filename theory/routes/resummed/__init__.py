"""The resummed law: the noise of the kernel kept to all orders."""

"""The routes to the outputs: first order, resummed, exact."""

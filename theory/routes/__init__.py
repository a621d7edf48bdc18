"""The routes to the outputs: first order, resummed, online, exact."""

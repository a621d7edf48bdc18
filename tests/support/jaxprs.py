"""What JAX traces, looked at."""

import jax


def count_equations(program) -> int:
    """Returns how many equations a jaxpr has, those of loops and of calls included."""
    is_program = lambda part: hasattr(part, "eqns")
    inner = [
        part
        for equation in program.eqns
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=is_program)
        if is_program(part)
    ]
    return len(program.eqns) + sum(map(count_equations, inner))

"""The package `theory`, by a name that nobody else's module has.

    import ntk_corrupt.theory as theory
    from ntk_corrupt.theory.routes.resummed import law

The same modules, not copies: `ntk_corrupt.theory.kernels is theory.kernels`. Where
another package called theory comes first on Python's path, neither name helps: this one
imports the other.
"""

from theory import *  # noqa: F403, what type checkers see
from theory.renamed import alias

alias(__name__, "theory")

"""The exact infinite-width route: one kernel per corruption draw.

An infinitely wide network trained on the corrupted images by gradient descent on the
squared loss predicts, averaged over initialisations, f(x*) = Theta_* P Y, with
P = Theta^{-1} when trained to the end. One initialisation adds independent noise of
variance `init_var` to each output, theory/README.md (8)-(11).

References: Jacot et al. 2018, arXiv:1806.07572; Lee et al. 2019, arXiv:1902.06720.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from theory import blocks, kernels, solve
from theory.corruption import Corruption, corrupt, draw_key
from theory.errors import InputError, NumericalError
from theory.laws import Draws
from theory.problem import Architecture, Problem

# Test points per block: a block of kernel rows and its solve stay small beside Theta.
_BLOCK = 512
# Largest relative truncation error of a quadrature dual that is let pass.
_TRUNCATION = 1e-5


@functools.partial(jax.jit, static_argnames=("flow", "with_init_var"))
def _one_draw(arch, noise, problem, key, draw, ridge, time, *, flow, with_init_var):
    """Outputs (n_test, c), init_var (n_test,) and diagnostics of one draw."""
    x = corrupt(noise, key, draw, problem.x_train)
    train = kernels.gram(x, arch)
    if flow:
        smoother = solve.gradient_flow(train.ntk, time)
    else:
        smoother = solve.inverse(train.ntk, ridge)
    weights = smoother.apply(problem.y)

    def predict(x_test):
        test = kernels.nngp_ntk(x_test, x, arch)
        outputs = test.ntk @ weights
        if not with_init_var:
            return outputs, jnp.full(x_test.shape[:1], jnp.nan, x.dtype)
        # theory/README.md (11), the rows of Theta_* P in the columns of `smoothed`
        smoothed = smoother.apply(test.ntk.T)
        prior = kernels.nngp_ntk_diag(x_test, arch).nngp
        learned = train.nngp @ smoothed - 2 * test.nngp.T
        return outputs, prior + (smoothed * learned).sum(axis=0)

    outputs, init_var = blocks.map_rows(predict, problem.x_test, _BLOCK)
    residual = train.ntk @ weights - problem.y
    diagnostics = {
        "margin": smoother.margin,
        "train_mse": (residual**2).mean(),
        "truncation_error": jnp.maximum(
            kernels.truncation_error(x, arch),
            kernels.truncation_error(problem.x_test, arch),
        ),
    }
    return outputs, init_var, diagnostics


def exact(
    arch: Architecture,
    noise: Corruption,
    problem: Problem,
    *,
    draws: int,
    key: Array,
    ridge: float = 0.0,
    time: float | None = None,
    first_draw: int = 0,
    with_init_var: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Draws:
    """Computes the infinite-width prediction for each of several corruption draws.

    Cost per draw, n training and m test points in d dimensions: n^2 (d + depth) for
    the kernel, n^3/3 multiply-adds for the solve, n m (d + depth) for the test rows
    and 2 n^2 m for `init_var`. Memory: four n x n matrices, whatever m.

    Args:
        arch: the architecture.
        noise: the corruption of the training images; its strength is traced.
        problem: the data, float64 unless the kernel is well conditioned.
        draws: number of corruption draws.
        key: typed PRNG key; draw k corrupts with (key, first_draw + k), the same
            images as every other route that is given this key.
        ridge: added to the diagonal of the kernel, in its units.
        time: gradient-flow time (loss and unit: `theory.solve.gradient_flow`) instead
            of training to the end. Costs an eigendecomposition.
        first_draw: number of the first draw.
        with_init_var: whether to compute `init_var`, about half of the cost.
        progress: called with (draws done, draws) after each.

    Returns:
        Draws with outputs (draws, 1, n_test, c) and init_var (draws, n_test).

    Raises:
        InputError: bad arguments, or a kernel larger than the memory.
        NumericalError: an indefinite or near-singular kernel, or a quadrature dual
            whose series is too short.
    """
    problem.check()
    arch.check()
    kernels.check_ntk(arch)
    noise.check()
    noise.check_images(problem.x_train)
    if draws < 1:
        raise InputError(f"`draws` must be at least 1, got {draws}.")
    if not 0 <= ridge < float("inf"):
        raise InputError(f"`ridge` must be finite and not negative, got {ridge}.")
    if time is not None and not time >= 0:
        raise InputError(f"`time` must not be negative, got {time}.")
    if time is not None and ridge:
        raise InputError("`ridge` and `time` exclude each other: pass one of them.")
    x = problem.x_train
    n, d = x.shape
    blocks.check_memory(
        4 * n**2 * x.dtype.itemsize,
        f"the exact kernel of {n} training images in {x.dtype}",
        "use a smaller n_train, float32 (half of it), or the first_order route",
    )
    # One draw at a time: each fills the memory, and every core, by itself.
    results = []
    for k in range(first_draw, first_draw + draws):
        outputs, init_var, diagnostics = _one_draw(
            arch,
            noise,
            problem,
            key,
            k,
            jnp.asarray(ridge, x.dtype),
            jnp.asarray(0.0 if time is None else time, x.dtype),
            flow=time is not None,
            with_init_var=with_init_var,
        )
        margin = float(diagnostics["margin"])
        solve.check(
            margin, corrupt(noise, key, k, x), flow=time is not None, ridge=ridge
        )
        truncation = float(diagnostics["truncation_error"])
        if not truncation < _TRUNCATION:
            raise NumericalError(
                f"the dual of {arch.phi.name} is truncated with relative error "
                f"{truncation:.1g}: raise `terms` of theory.activations.custom."
            )
        results.append((outputs, init_var, diagnostics, draw_key(key, k)))
        if progress is not None:
            progress(len(results), draws)
    outputs, init_vars, diagnostics, keys = zip(*results, strict=True)
    return Draws(
        outputs=jnp.stack(outputs)[:, None],
        init_var=jnp.stack(init_vars) if with_init_var else None,
        draw_keys=jnp.stack([jax.random.key_data(k) for k in keys]),
        diagnostics={
            name: jnp.stack([row[name] for row in diagnostics])
            for name in diagnostics[0]
        },
    )

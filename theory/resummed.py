"""The resummed law: mean kernel exact, noise of the features kept to all orders.

Where `first_order` expands in eps = 1 - p and in the noise correlations of the training
images, this law linearises the kernel around its mean at the actual p, and solves the
regression with its noisy features by a deterministic equivalent. No constant is fitted,
and no kernel is drawn. theory/README.md, sections 7-9.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory import (
    blocks,
    equivalent,
    kernel_rows,
    kernels,
    linearise,
    mean_kernel,
    responses,
    solve,
)
from theory.corruption import Corruption
from theory.cross import Points
from theory.errors import InputError
from theory.output_law import OutputLaw
from theory.problem import Architecture, Problem
from theory.records import record

_matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
# Test points per block.
_BLOCK = 256
# Landmarks tried in turn, and then all training images up to so many.
_LANDMARKS, _MOST_FOR_ALL = (400, 1000), 5000
# Share of the base that landmarks may leave unexplained of an image's own entry.
_UNEXPLAINED = 0.1
# Landmark features come in multiples of this, so that a sweep compiles few sizes.
_ROUND = 50
# Step of the derivative in s, in units of ntk/nngp, as a power of the rounding error:
# 7e-4 in float64, with an error of its square.
_STEP = 1 / 5
# Beyond these the law calls itself not valid. The margin is .998 on MNIST at n_train =
# 4000, .95 at 20 000, and .12 at 60 000, where the predictions are wrong.
_MARGIN = 0.95
_RESIDUAL, _RATIO, _NORM_SPREAD = 1e6, 0.1, 0.15  # residual in roundings


@record(kw_only=True)
class Side:
    """The solved regression for the kernel ntk + s nngp.

    `rotation` takes test rows to the rows of the solution; None if they are the same.
    `moments` and `norm` are those of `responses.random_rows` for the three parts of a
    test point's own noise.
    """

    s: Array
    solution: equivalent.Equivalent
    scales: linearise.Scales
    rotation: Array | None
    moments: Array | None
    norm: Array | None


@record(kw_only=True)
class Solved:
    """All that predictions at test points need.

    `sides` are at -step and +step, for the derivative in s; empty without `init_var`.
    """

    arch: Architecture
    measured: linearise.Measured
    centre: Side
    sides: tuple[Side, ...]
    copies: Array
    test_corruption: Corruption | None
    test_strength: Array | None


class _Block(NamedTuple):
    """Kernel rows of a block of test points, for both kernels."""

    images: mean_kernel.Images
    rows: kernel_rows.KernelRows


def _block(solved: Solved, x: Float[Array, "t d"]) -> _Block:
    test = mean_kernel.images(x, solved.arch, solved.test_corruption)
    return _Block(test, kernel_rows.kernel_rows(solved.arch, solved.measured, test))


def _scaled(solved: Solved, block: _Block, side: Side) -> tuple[Array, Array]:
    """Rows g and weights w of the block in the regression of one side."""
    g, w = kernel_rows.scaled(
        solved.arch,
        solved.measured,
        side.scales,
        block.images,
        block.rows,
        side.s,
        features=side.solution.lam.shape[0],
        copies=solved.copies,
    )
    return g if side.rotation is None else _matmul(g, side.rotation), w


def rows_at(solved: Solved, x: Float[Array, "t d"], side: Side) -> tuple[Array, Array]:
    """Returns the kernel rows g of test points, and the weights w of their noise."""
    return _scaled(solved, _block(solved, x), side)


def _own_noise(solved: Solved, block: _Block, side: Side) -> Float[Array, "3 t"]:
    """Weights of the three parts of every test point's own noise, (E9)."""
    assert solved.test_strength is not None
    strength = block.images.var.mean(axis=1) / solved.test_strength
    return strength[None, :] * kernel_rows.own_noise_weights(
        solved.measured, side.scales, block.rows, side.s
    )


def _predict_block(solved: Solved, x: Float[Array, "t d"]):
    """Mean, covariance and init_var at a block of test points."""
    block, centre = _block(solved, x), solved.centre
    response = responses.respond(centre.solution, *_scaled(solved, block, centre))
    cov = responses.covariance(centre.solution, response)
    if centre.moments is not None:
        own = _own_noise(solved, block, centre)
        cov = cov + jnp.einsum("pt,pij->tij", own, centre.moments)
    if not solved.sides:
        return response.mean, cov, jnp.full_like(cov[:, 0, 0], jnp.nan)
    # (L10) variance of one initialisation: prior less the derivative of the norm in s
    norms = []
    for side in solved.sides:
        norm = responses.quadratic(side.solution, *_scaled(solved, block, side))
        if side.norm is not None:
            norm = norm + side.norm @ _own_noise(solved, block, side)
        norms.append(norm)
    slope = (norms[1] - norms[0]) / (solved.sides[1].s - solved.sides[0].s)
    prior = mean_kernel.mean_diag(block.images, solved.arch).nngp
    return response.mean, cov, prior - slope


@jax.jit
def _predict(solved: Solved, x_test: Float[Array, "n d"]):
    return blocks.map_rows(lambda x: _predict_block(solved, x), x_test, _BLOCK)


@record(kw_only=True)
class _Cross:
    """Covariances between test points, see `theory.cross.CrossCovariance`."""

    solved: Solved
    x_test: Float[Array, "n d"]

    def cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b c c"]:
        """Returns Cov(f_i(x_a), f_j(x_b)) over draws."""
        return _cross_cov(self.solved, self.x_test, jnp.asarray(a), jnp.asarray(b))

    def init_cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b"]:
        """Returns the covariance that one initialisation adds to every output."""
        a, b = jnp.asarray(a), jnp.asarray(b)
        if not self.solved.sides:
            return jnp.full((a.shape[0], b.shape[0]), jnp.nan, self.x_test.dtype)
        return _cross_init_cov(self.solved, self.x_test, a, b)


@jax.jit
def _cross_cov(solved, x_test, a, b):
    side = solved.centre
    found = [_block(solved, x_test[points]) for points in (a, b)]
    one, two = (
        responses.respond(side.solution, *_scaled(solved, block, side))
        for block in found
    )
    cov = responses.cross_covariance(side.solution, one, two)
    if side.moments is None:
        return cov
    # a test point's own noise is independent of that of all others
    own = _own_noise(solved, found[0], side)
    same = (a[:, None] == b[None, :]).astype(cov.dtype)
    return cov + jnp.einsum("pa,pij,ab->abij", own, side.moments, same)


@jax.jit
def _cross_init_cov(solved, x_test, a, b):
    found = [_block(solved, x_test[points]) for points in (a, b)]
    same = (a[:, None] == b[None, :]).astype(x_test.dtype)
    norms = []
    for side in solved.sides:
        rows = [_scaled(solved, block, side) for block in found]
        norm = responses.bilinear(side.solution, *rows)
        if side.norm is not None:
            own = side.norm @ _own_noise(solved, found[0], side)
            norm = norm + own[:, None] * same
        norms.append(norm)
    slope = (norms[1] - norms[0]) / (solved.sides[1].s - solved.sides[0].s)
    one, two = (block.images for block in found)
    if solved.test_corruption is None:
        q1, q2 = one.q[:, None], two.q[None, :]
        cov = kernels.first_layer_covariance(one.mean, two.mean, solved.arch)
        prior = kernels.propagate(q1, q2, cov, solved.arch).nngp
    else:
        prior = mean_kernel.mean_kernel(one, two, solved.arch).nngp
    own = mean_kernel.mean_diag(one, solved.arch).nngp
    return jnp.where(same > 0, own[:, None], prior) - slope


@jax.jit
def _noiseless(arch, measured, y, s, ridge):
    """The regression without noise: the mean kernel is the kernel."""
    rows, scales = linearise.rows(arch, measured, y, s=s, ridge=ridge)
    kernel = linearise.combined(measured.entries, s)
    n = kernel.shape[0]
    kernel = kernel.at[jnp.arange(n), jnp.arange(n)].set(
        linearise.combined(measured.diag, s) + ridge
    ) / (scales.row[:, None] * scales.row[None, :])
    zero = jnp.zeros_like(rows.weight)
    rotated, rotation = equivalent.diagonalised(kernel, rows.mean, zero, zero, rows.y)
    return rotated, scales, rotation


def _solve_side(solved_with: dict[str, Any], s, basis, parts) -> Side:
    arch, measured, y, ridge, copies, noiseless = (
        solved_with[name]
        for name in ("arch", "measured", "y", "ridge", "copies", "noiseless")
    )
    rotation = None
    if noiseless:
        rows, scales, rotation = _noiseless(arch, measured, y, s, ridge)
        # without noise nothing tells identical images apart
        margin = float(rows.base.min() / jnp.abs(rows.base).max())
        solve.check(margin, measured.train.mean, flow=False, ridge=float(ridge))
    else:
        rows, scales = linearise.rows(
            arch, measured, y, basis, s=s, ridge=ridge, copies=copies
        )
    solution = equivalent.solve(rows)
    moments = norm = None
    if parts is not None:
        size = solution.lam.shape[0]
        found = [
            _random_rows(solution, jnp.pad(part, ((0, size - part.shape[0]),) * 2))
            for part in parts
        ]
        moments, norm = (jnp.stack(part) for part in zip(*found, strict=True))
    return Side(
        s=s,
        solution=solution,
        scales=scales,
        rotation=rotation,
        moments=moments,
        norm=norm,
    )


_random_rows = jax.jit(responses.random_rows)
_images = jax.jit(mean_kernel.images)


def _choose(arch, measured_at, noise, problem, landmarks, ridge):
    """Picks landmarks: (level, measured, basis, share that they leave unexplained)."""
    n = problem.x_train.shape[0]
    sizes = _LANDMARKS if landmarks is None else (landmarks,)
    if landmarks is None and n <= _MOST_FOR_ALL:
        sizes = (*sizes, n)
    for size in sizes:
        measured = measured_at(size if size else _LANDMARKS[0])
        basis, missing = linearise.landmark_basis(arch, measured, ridge)
        used = int((jnp.abs(basis).sum(axis=0) > 0).sum())
        if size == 0 or used == 0:
            return "diagonal", measured, None, float(missing[0])
        # ascending by size: what is used comes last
        wide = min(-(-used // _ROUND) * _ROUND, basis.shape[1])
        basis = basis[:, basis.shape[1] - wide :]
        if float(missing[1]) <= _UNEXPLAINED:
            break
    level = "full" if measured.columns.shape[0] == n else "landmarks"
    return level, measured, basis, float(missing[1])


def resummed(
    arch: Architecture,
    noise: Corruption,
    problem: Problem,
    *,
    landmarks: int | None = None,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    ridge: float = 0.0,
    with_init_var: bool = True,
) -> OutputLaw:
    """Predicts the outputs at any corruption level; classes may be unbalanced.

    Cost, m = d + 2 + landmarks: 6 Newton steps of 3 n m^2 multiply-adds, three times
    with `init_var`, and per test point 4 n m multiply-adds and 4 n kernel entries (6 n
    where test images are corrupted). Memory: about 10 n m numbers; nothing of size
    n x n, and kernel rows of 256 test points at a time. `landmarks=n_train` takes the
    n x n memory.

    Validity: to leading order in 1/d and 1/n; `diagnostics["valid"]` and `["doubts"]`
    say where the linearisation ends. Accuracies on MNIST are within .01 of the exact
    kernel's for all noises and activations tried at n_train = 2000 and 4000,
    experiments/README.md. With many more images than pixels (MNIST at 60 000) small
    errors of the linearised kernel add up over the images and the law fails; it then
    says so.

    Args:
        arch: the architecture.
        noise: the corruption of the training images; its strength is traced.
        problem: the data; float32 serves (digits: accuracies move by 2e-5).
        landmarks: training images through which what base and features leave of the
            mean kernel enters; 0 drops it, `n_train` is exact. None takes the fewest
            that the diagnostics call right.
        copies: independently corrupted copies of each training image.
        test_corruption: corruption of the test images; None leaves them clean.
        ridge: added to the diagonal of the kernel, in its units.
        with_init_var: whether to compute `init_var`, about 2/3 of the cost; without it
            `averaged` refuses.

    Returns:
        The law, with covariances between test points. `diagnostics`: `level` (diagonal,
        landmarks, full, noiseless), `landmark_features` used, `unexplained` share of an
        image's own entry that they leave, `residual` and `steps` of the solution,
        `margin` of the mean kernel (positive if it is definite), `linearisation_ratio`,
        `norm_spread`, `regular`, `tau`, `omega`, `valid` and `doubts`.

    Raises:
        InputError: bad arguments.
        NumericalError: a kernel without noise that is singular.
    """
    problem.check()
    arch.check()
    kernels.check_ntk(arch)
    noise.check()
    noise.check_images(problem.x_train)
    n, d = problem.x_train.shape
    if copies < 1:
        raise InputError(f"`copies` must be at least 1, got {copies}.")
    if not 0 <= ridge < float("inf"):
        raise InputError(f"`ridge` must be finite and not negative, got {ridge}.")
    if landmarks is not None and not 0 <= landmarks <= n:
        raise InputError(
            f"`landmarks` must be between 0 and n_train = {n}, got {landmarks}."
        )
    dtype = problem.x_train.dtype

    @functools.cache
    def measured_at(size):
        columns = jnp.asarray(linearise.sample(n, size))
        return linearise.measure(arch, noise, problem.x_train, columns)

    ridge_value = jnp.asarray(ridge, dtype)
    noiseless = not bool(_images(problem.x_train, arch, noise).var.any())
    if noiseless:
        level, measured, basis, missing = "noiseless", measured_at(n), None, 0.0
    else:
        level, measured, basis, missing = _choose(
            arch, measured_at, noise, problem, landmarks, ridge_value
        )
    parts = strength = None
    if test_corruption is not None:
        test = _images(problem.x_test, arch, test_corruption)
        parts = kernel_rows.own_noise(arch, measured, test, features=d + 2)
        strength = test.var.mean()
    solve_at = functools.partial(
        _solve_side,
        {
            "arch": arch,
            "measured": measured,
            "y": problem.y,
            "ridge": ridge_value,
            "copies": jnp.asarray(copies, dtype),
            "noiseless": noiseless,
        },
        basis=basis,
        parts=parts,
    )
    centre = solve_at(jnp.zeros((), dtype))
    step = (
        jnp.finfo(dtype).eps ** _STEP
        * measured.diag.ntk.mean()
        / measured.diag.nngp.mean()
    )
    solved = Solved(
        arch=arch,
        measured=measured,
        centre=centre,
        sides=(solve_at(-step), solve_at(step)) if with_init_var else (),
        copies=jnp.asarray(copies, dtype),
        test_corruption=test_corruption,
        test_strength=strength,
    )
    mean, cov, init_var = _predict(solved, problem.x_test)
    return OutputLaw(
        mean=mean,
        cov=cov,
        init_var=init_var,
        cross=_Cross(solved=solved, x_test=problem.x_test),
        diagnostics=_diagnostics(solved, level, missing),
    )


def _diagnostics(solved: Solved, level: str, missing: float) -> dict[str, Any]:
    solution = solved.centre.solution
    found: dict[str, Any] = {
        "level": level,
        "landmark_features": solution.lam.shape[0]
        - solved.measured.train.mean.shape[1]
        - 2,
        "residual": float(
            max(side.solution.residual for side in (solved.centre, *solved.sides))
        ),
        "steps": int(solution.steps),
        "unexplained": missing,
        "margin": float(equivalent.margin(solution)),
        "tau": float(solution.tau),
        "omega": float(solution.omega),
    }
    measured = linearise.diagnose(
        solved.arch, solved.measured, solution.rows, solution.omega
    )
    found |= {name: value.item() for name, value in measured.items()}
    eps = float(jnp.finfo(solved.copies.dtype).eps)
    doubts = [
        text
        for bad, text in (
            (
                not found["residual"] <= _RESIDUAL * eps,
                "the fixed point was not reached",
            ),
            (
                not found["margin"] > _MARGIN,
                "the mean kernel is nearly indefinite: too many images",
            ),
            (missing > _UNEXPLAINED and level != "full", "landmarks leave too much"),
            (
                found["linearisation_ratio"] > _RATIO,
                "the kernel is not linear in the noise",
            ),
            (found["norm_spread"] > _NORM_SPREAD, "too few pixels"),
            (not found["regular"], "slopes of both signs"),
        )
        if bad and level != "noiseless"
    ]
    return found | {"valid": not doubts, "doubts": "; ".join(doubts)}

"""Arguments that the routes share, checked once, before anything is computed."""

from jaxtyping import Array

from theory.corruption.base import Corruption
from theory.corruption.copies import check_options
from theory.errors import InputError, check_count
from theory.kernels import propagation
from theory.kernels.architecture import Architecture
from theory.problem import Problem


def check_inputs(
    arch: Architecture,
    corruption: Corruption,
    problem: Problem,
    *,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    ridge: float = 0.0,
    draws: int = 1,
) -> None:
    """Raises `InputError` on arguments that make no sense. Host only."""
    problem.check()
    arch.check()
    propagation.check_ntk(arch)
    check_options(corruption, problem, copies=copies, test_corruption=test_corruption)
    check_ridge(ridge)
    check_count("draws", draws)


def check_ridge(ridge: float) -> None:
    """Raises `InputError` on a ridge that makes no sense. Host only."""
    if not 0 <= ridge < float("inf"):
        raise InputError(f"`ridge` must be finite and not negative, got {ridge}.")


def check_time(
    time: float | None, ridge: float, test_corruption: Corruption | None
) -> None:
    """Raises `InputError` on a gradient-flow time that makes no sense. Host only."""
    if time is None:
        return
    if not 0 < time < float("inf"):
        raise InputError(f"`time` must be positive and finite, got {time}.")
    if ridge:
        raise InputError("`ridge` and `time` exclude each other: pass one of them.")
    check_tests(True, test_corruption)


def check_tests(for_a_time: bool, test_corruption: Corruption | None) -> None:
    """Raises `InputError` where corrupted test points meet a finite time. Host only."""
    if for_a_time and test_corruption is not None:
        raise InputError(
            "`time` and `test_corruption` exclude each other on this route: use "
            "theory.exact for both."
        )


def check_pixels(x_test: Array, d: int) -> None:
    """Raises `InputError` on points that have other pixels than training images."""
    if x_test.shape[1] != d:
        raise InputError(
            f"`x_test` must have as many pixels as the training images, {d}, got "
            f"{x_test.shape[1]}."
        )

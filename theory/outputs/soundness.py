"""What is wrong with the arrays of a law, or of draws, that come from a file.

Covariances come symmetric and positive semidefinite but for rounding, and for what an
estimate from draws takes out of them: `Draws.law`.
"""

from typing import Any

import numpy as np

# Of the largest entry; with it eigenvalues are taken as those of a covariance in
# `accuracy_spread` too. A law in float32 has some 1e-5.
_ROUNDING = 1e-3


def law(fields: dict[str, Any]) -> str | None:
    """Returns what is wrong with the fields of an `OutputLaw`; None for nothing."""
    mean = fields["mean"]
    if mean.ndim != 2:
        return f"`mean` must have shape (n, c), got {mean.shape}"
    n, c = mean.shape
    covs = {"cov": (n, c, c), "kernel_cov": (n, c, c)}
    wrong = _shapes(fields, mean=(n, c), init_var=(n,), **covs)
    wrong = wrong or _floats(fields, "mean", "init_var", *covs)
    wrong = wrong or _finite(fields, "mean", *(name for name in covs if name in fields))
    if wrong:
        return wrong
    if not fields.get("inits", 1) >= 1:
        return f"`inits` must be at least 1, got {fields['inits']}"
    wrong = _variance(fields) or _covariance(fields, "cov")
    return wrong or _covariance(fields, "kernel_cov")


def draws(fields: dict[str, Any]) -> str | None:
    """Returns what is wrong with the fields of `Draws`; None for nothing."""
    outputs = fields["outputs"]
    if outputs.ndim != 4 or 0 in outputs.shape[:2]:
        return (
            "`outputs` must have shape (draws, initialisations, n, c), got "
            f"{outputs.shape}"
        )
    k, _, n, c = outputs.shape
    at = fields.get("init_var_at")
    known = n if at is None else at.size
    wrong = _points(at, n) if at is not None else None
    shapes = {"init_var": (k, known), "draw_keys": (k, 2), "kernel_cov": (k, n, c, c)}
    wrong = wrong or _shapes(fields, **shapes)
    wrong = wrong or _floats(fields, "outputs", "init_var", "kernel_cov")
    wrong = wrong or _finite(fields, "outputs") or _variance(fields)
    wrong = wrong or _covariance(fields, "kernel_cov")
    keys = fields.get("draw_keys")
    if wrong is None and keys is not None and keys.dtype.kind not in "iu":
        return f"`draw_keys` must be integers, got {keys.dtype}"
    return wrong


def _points(at: np.ndarray, n: int) -> str | None:
    if at.ndim != 1 or at.dtype.kind not in "iu" or not ((at >= 0) & (at < n)).all():
        return f"`init_var_at` must be test points 0 ... {n - 1}"
    return None


def _shapes(fields: dict[str, Any], **shapes: tuple[int, ...]) -> str | None:
    for name, shape in shapes.items():
        if name in fields and fields[name].shape != shape:
            return f"`{name}` must have shape {shape}, got {fields[name].shape}"
    return None


def _floats(fields: dict[str, Any], *names: str) -> str | None:
    for name in names:
        if name in fields and fields[name].dtype not in (np.float32, np.float64):
            return f"`{name}` must be float32 or float64, got {fields[name].dtype}"
    return None


def _finite(fields: dict[str, Any], *names: str) -> str | None:
    for name in names:
        if not np.isfinite(fields[name]).all():
            return f"`{name}` must be finite, got NaN or infinity"
    return None


def _variance(fields: dict[str, Any]) -> str | None:
    known = fields.get("init_var")
    if known is None:
        return None
    if not np.isfinite(known).all():
        return "`init_var` must be finite, got NaN or infinity"
    outputs = fields["mean"] if "mean" in fields else fields["outputs"]
    scale = max(_largest(known), _largest(outputs) ** 2)
    if known.size and known.min() < -_ROUNDING * scale and not _doubted(fields):
        return f"`init_var` must not be negative, got {known.min():.3g}"
    return None


def _covariance(fields: dict[str, Any], name: str) -> str | None:
    if name not in fields:
        return None
    cov = np.asarray(fields[name], np.float64)
    if not np.isfinite(cov).all():
        return f"`{name}` must be finite, got NaN or infinity"
    rounding = _ROUNDING * _largest(cov)
    if _largest(cov - cov.swapaxes(-1, -2)) > rounding:
        return f"`{name}` must be symmetric"
    own = 0.0
    if name == "cov" and "init_var" in fields:
        # an estimate has the share of the initialisations taken out, at most all of it
        own = fields["init_var"].clip(min=0)[..., None]
    lowest = np.linalg.eigvalsh(cov)[..., :1] + own
    if lowest.size and lowest.min() < -rounding and not _doubted(fields):
        found = f"{lowest.min():.3g}"
        return f"`{name}` must be positive semidefinite, got the eigenvalue {found}"
    return None


def _doubted(fields: dict[str, Any]) -> bool:
    """Whether the route that made the law says itself that it may be wrong."""
    doubts = fields["diagnostics"].get("doubts")
    return isinstance(doubts, str | tuple) and bool(doubts)


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values, dtype=np.float64).max(initial=0.0))

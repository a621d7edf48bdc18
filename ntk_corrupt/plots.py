"""Arrays onto axes: every function takes the axes first and returns its artists.

Nothing is computed, saved or shown here; extra keywords go to matplotlib.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.rcsetup import cycler
from matplotlib.text import Annotation
from numpy.typing import ArrayLike

# Okabe and Ito 2008: told apart with any kind of colour vision.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)


def style() -> dict[Any, Any]:
    """Returns the look of every figure, for `matplotlib.rc_context`."""
    return {
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#DDDDDD",
        "grid.linewidth": 0.6,
        "image.cmap": "gray",
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "lines.markersize": 4.0,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,  # text stays text
    }


def accuracy_curves(
    ax: Axes,
    p: ArrayLike,
    accuracy: ArrayLike,
    stderr: ArrayLike | None = None,
    *,
    label: str,
    **options: Any,
) -> ErrorbarContainer:
    """Draws the accuracy of one route against the corruption level.

    Args:
        ax: the axes; see `corruption_axis` for their scale.
        p: corruption levels (n,), in any order.
        accuracy: accuracy at each (n,); None or NaN leaves a gap.
        stderr: its standard error (n,), or None for no bars.
        label: name of the route in the legend.
        **options: of `Axes.errorbar`.
    """
    order = np.argsort(np.asarray(p, float))
    x, y = np.asarray(p, float)[order], np.asarray(accuracy, float)[order]
    bars = None if stderr is None else np.asarray(stderr, float)[order]
    options = {"marker": "o", "capsize": 2.0, **options}
    artists = ax.errorbar(x, y, yerr=bars, label=label, **options)
    ax.set_ylabel("test accuracy")
    return artists


def chance_line(ax: Axes, num_classes: int, **options: Any) -> Line2D:
    """Draws the accuracy of guessing, 1/num_classes."""
    options = {"color": "0.5", "linestyle": ":", "label": "chance", **options}
    return ax.axhline(1 / num_classes, **options)


def corruption_axis(ax: Axes, p: ArrayLike) -> None:
    """Gives the x-axis a logarithmic scale of 1 - p, with ticks labelled by p.

    Data stay in units of p, and p grows to the right. The scale is -log10(1 - p + a):
    with p = 1 among the levels, `a` is half the smallest 1 - p > 0, which puts it about
    half a decade behind its neighbour; without it, `a` is zero. p = 0 is at zero.

    Args:
        ax: the axes, before or after the curves are drawn.
        p: every level that the curves hold.
    """
    p = np.unique(np.asarray(p, float))
    below = p[p < 1]
    a = 0.0 if below.size == p.size else (1 - below[-1]) / 2 if below.size else 0.01

    def forward(p):
        return -np.log10(np.maximum(1 - p + a, 1e-12))

    def inverse(x):
        return 1 + a - 10.0**-x

    left, right = forward(p[0]), forward(p[-1])
    span = right - left or 1.0
    ticks = [p[-1]]
    for level in p[-2:0:-1]:  # from the right, dropping labels that would touch
        if min(forward(ticks[-1]) - forward(level), forward(level) - left) > span / 12:
            ticks.append(level)
    ticks = np.unique([p[0], *ticks])
    ax.set_xscale("function", functions=(forward, inverse))
    ax.set_xlim(inverse(left - span / 20), inverse(right + span / 20))
    ax.set_xticks(ticks, labels=[f"{level:g}" for level in ticks])
    ax.set_xlabel("corruption level p (spaced by log(1 - p))")


def name_ends(
    ax: Axes, names: Iterable[tuple[str, float, Any]], *, apart: float = 0.045
) -> list[Annotation]:
    """Names lines at the right edge of the axes, so that no legend lies on them.

    Args:
        ax: the axes, with their limits set and a linear y-axis.
        names: text, height in units of the data, and colour.
        apart: least distance of two names, as a share of the height of the axes.

    Returns:
        The texts, from the lowest to the highest.
    """
    low, high = ax.get_ylim()
    ordered = sorted(names, key=lambda name: name[1])
    at: list[float] = []
    for _, height, _ in ordered:
        share = (height - low) / (high - low)
        at.append(max(share, at[-1] + apart) if at else share)
    for i in reversed(range(len(at))):  # and none above the axes
        at[i] = min(at[i], 1.0 if i == len(at) - 1 else at[i + 1] - apart)
    return [
        ax.annotate(
            name,
            (1.01, place),
            xycoords="axes fraction",
            color=colour,
            fontsize="small",
            va="center",
            annotation_clip=False,
        )
        for (name, _, colour), place in zip(ordered, at, strict=True)
    ]


def as_images(pixels: np.ndarray) -> np.ndarray:
    """Returns rows of pixels as images: square, grey or with three colours.

    Args:
        pixels: (n, d), channels last.

    Returns:
        (n, side, side) or (n, side, side, 3); (n, 1, d) where d is no such square.
    """
    channels = 1 if math.isqrt(pixels.shape[-1]) ** 2 == pixels.shape[-1] else 3
    side = math.isqrt(pixels.shape[-1] // channels)
    if side**2 * channels != pixels.shape[-1]:
        return pixels.reshape(-1, 1, pixels.shape[-1])
    return np.squeeze(
        pixels.reshape(-1, side, side, channels), -1 if channels == 1 else ()
    )


def sample_images(
    axes: Iterable[Axes], images: ArrayLike, titles: Sequence[str], **options: Any
) -> list[AxesImage]:
    """Draws a row of images, each stretched to its own range of values.

    Args:
        axes: one axes per image.
        images: grey (k, h, w) or coloured (k, h, w, 3).
        titles: k titles.
        **options: of `Axes.imshow`.
    """
    options = {"cmap": "gray", "interpolation": "nearest", **options}
    artists = []
    for ax, image, title in zip(axes, np.asarray(images), titles, strict=True):
        image = (image - image.min()) / (np.ptp(image) or 1)
        artists.append(ax.imshow(image, vmin=0, vmax=1, **options))
        ax.set_title(title)
        ax.set_xticks([])
        ax.set_yticks([])
    return artists

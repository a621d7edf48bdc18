"""One image under every kind of corruption: settings, cells, table, figure."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

import theory
from experiments.harness.flags import Config, setting
from experiments.harness.run_directory import Cell, Row, RunDirectory
from experiments.shared import corruptions
from experiments.shared import settings as shared_settings
from experiments.shared.corruptions import KINDS
from ntk_corrupt import plots
from ntk_corrupt.data import loading
from theory.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseGallery(Config):
    """Settings of the experiment."""

    dataset: str = setting("digits", f"one of {', '.join(loading.NAMES)}")
    size: int | None = setting(
        28, "side in pixels to resize the images to; or none", most=1024
    )
    corruptions: tuple[str, ...] = setting(
        tuple(KINDS),
        f"rows: any of {', '.join(KINDS)}",
    )
    p: tuple[float, ...] = setting(
        (0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0),
        "columns: corruption levels; clipped noise has the width p/(1 - p), 0 < p < 1",
    )
    image: int = setting(0, "number of the training image", least=0)


def _configured(config: NoiseGallery, name: str) -> shared_settings.Settings:
    made_for: dict[str, Any] = corruptions.made_for(name)
    return shared_settings.Settings(
        seed=config.seed,
        data_dir=config.data_dir,
        dataset=config.dataset,
        size=config.size,
        n_train=config.image + 1 + -(config.image + 1) % 10,
        n_test=10,
        **made_for,
    )


def check(config: NoiseGallery) -> None:
    """Raises `InputError` on bad settings."""
    for name in config.corruptions:
        strengths = [
            corruptions.kind(name, "--corruptions").strength(p) for p in config.p
        ]
        levels = tuple(s for s in strengths if s is not None)
        settings = _configured(config, name)
        shared_settings.check(settings, levels or (0.5,))
    if not cells(config):
        raise InputError(
            f"`--p` must be between 0 and 1 for {', '.join(config.corruptions)}, got "
            f"{config.p}."
        )


def cells(config: NoiseGallery) -> list[Cell]:
    """One cell per corruption and level."""
    return [
        Cell(
            {
                "corruption": name,
                "p": p,
                "dataset": config.dataset,
                "size": config.size,
                "image": config.image,
                "seed": config.seed,
            }
        )
        for name in config.corruptions
        for p in config.p
        if KINDS[name].strength(p) is not None
    ]


def compute(config: NoiseGallery, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Corrupts the image."""
    name, level = cell.settings["corruption"], cell.settings["p"]
    settings, strength = _configured(config, name), KINDS[name].strength(level)
    assert strength is not None
    noise = shared_settings.corruption(settings, strength)
    x = shared_settings.problem(settings, 0).x_train[config.image][None]
    grey = jnp.full_like(x, x.mean())
    of, without = noise.moments(x), noise.moments(grey)
    signal = float(((of.mean - without.mean) ** 2).sum())
    spread = float(of.var.sum())
    key = shared_settings.corruption_key(settings, 0)
    image = theory.corrupt(noise, key, 0, x)[0]
    return {
        "strength": strength,
        "snr": signal / spread if spread > 0 else None,
    }, {"image": np.asarray(image, np.float32)}


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Signal to noise ratio by corruption and level."""
    lines = ["", f"{'corruption':<20} {'p':>6} {'strength':>9} {'SNR':>10}"]
    ratios = np.array([row["snr"] for row in rows], float)
    lines += [
        f"{row['corruption']:<20} {row['p']:>6g} {row['strength']:>9.3g} "
        + (f"{snr:>10.3g}" if np.isfinite(snr) else "  no noise")
        for row, snr in zip(rows, ratios, strict=True)
    ]
    return "\n".join([*lines, ""])


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """The images."""
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(row["corruption"] for row in rows))
    levels = sorted({row["p"] for row in rows})
    fig = Figure(
        figsize=(1.3 * len(levels) + 0.6, 1.45 * len(kinds) + 0.3), layout="constrained"
    )
    axes = fig.subplots(len(kinds), len(levels), squeeze=False)
    for line, kind in zip(axes, kinds, strict=True):
        found = {row["p"]: row for row in rows if row["corruption"] == kind}
        for ax, p in zip(line, levels, strict=True):
            if p not in found:
                ax.set_axis_off()
                continue
            pixels = directory.arrays(found[p])["image"][None]
            strength = found[p]["strength"]
            name = f"p = {p:g}" if strength == p else f"width {strength:.2g}"
            plots.sample_images([ax], plots.as_images(pixels), [name])
            ax.title.set_fontsize("small")
        next(ax for ax in line if ax.axison).set_ylabel(
            kind.replace("_", "\n"), fontsize="small"
        )
    return fig

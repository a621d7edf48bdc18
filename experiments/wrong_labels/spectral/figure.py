"""Pictures of truncated networks."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from experiments.harness.run_directory import Row, RunDirectory
from experiments.wrong_labels.spectral.report import arms
from ntk_corrupt import plots

_BARS = 30  # components in the spectrum
_KINDS = (
    ("whole head", "full"),
    ("cut, d by validation", "truncated"),
    ("stopped by validation", "stop"),
    ("best epoch", "best_epoch"),
)


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracy over d and over epochs, the heat map of both, probes, the spectrum."""
    from matplotlib.figure import Figure

    first = rows[0]["mode"]
    plain = [
        row
        for (mode, _, decay), group in arms(rows).items()
        if mode == first and not decay
        for row in group
    ]
    shares = sorted({row["rho"] for row in plain})
    arrays = {
        rho: [directory.arrays(row) for row in plain if row["rho"] == rho]
        for rho in shares
    }
    shown = min(shares, key=lambda rho: abs(rho - 0.4))
    of_shown = next(row for row in plain if row["rho"] == shown)
    fig = Figure(figsize=(18.0, 7.6), layout="constrained")
    (cut, heat, time, share), (probe, epochs_of, spectrum, bars) = fig.subplots(2, 4)
    for rho, colour in zip(shares, plots.PALETTE * 3, strict=False):
        curve = _mean(arrays[rho], "by_d")[-1]
        cut.plot(np.arange(1, len(curve)), curve[1:], color=colour, label=f"{rho:g}")
        epochs = _mean(arrays[rho], "test")
        cut.axhline(epochs.max(), color=colour, linestyle=":", linewidth=1)
        time.plot(np.arange(len(epochs)), epochs, color=colour, label=f"{rho:g}")
    classes = of_shown["classes"]
    _dimensions(cut, classes)
    cut.set_title("last epoch, head cut to d (dotted: best epoch)", fontsize="medium")
    time.set(xlabel="epoch", ylabel="test accuracy", title="whole head")
    for ax in (cut, time):
        _room_for_names(ax)
        ax.legend(
            title="share of wrong labels", fontsize="x-small", title_fontsize="x-small",
            loc="upper center", ncols=6,
        )  # fmt: skip
    time.set_xscale("symlog", linthresh=1)
    time.set_xlim(0, of_shown["epochs"])
    time.xaxis.set_major_formatter("{x:g}")
    _heat(fig, heat, _mean(arrays[shown], "by_d"), of_shown["snapshots"], shown)
    _probes(probe, arrays[shown], classes, shown)
    _probes_over_epochs(epochs_of, arrays[shown], of_shown, shown)
    _over_shares(share, plain, classes)
    _spectrum(spectrum, arrays[shown], shown)
    _bars(bars, rows)
    row = rows[0]
    fig.suptitle(
        f"{row['dataset']} ({row['normalise']}), {row['n_train']} images, {first} "
        f"labels; {row['activation']}, depth {row['depth']}, width {row['width']}",
        fontsize="medium",
    )
    return fig


def _mean(arrays: Sequence[dict[str, np.ndarray]], name: str) -> np.ndarray:
    return np.mean([each[name] for each in arrays], axis=0)


def _room_for_names(ax: Axes, most: float = 1.25) -> None:
    """Accuracies up to 1, and above them place for a legend."""
    ax.set_ylim(0, most)
    ax.set_yticks(np.arange(0, 1.01, 0.2))


def _dimensions(ax: Axes, classes: int) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.plot([classes, classes], [0, 1], color="0.5", linewidth=0.8, linestyle="--")
    ax.set(xlabel="components d (dashed: classes)", ylabel="test accuracy")


def _heat(fig, ax: Axes, by_d: np.ndarray, epochs: Sequence[int], rho: float) -> None:
    """Epochs are rows of one height; d on a logarithmic axis."""
    edges = np.arange(1, by_d.shape[1] + 1) - 0.5
    mesh = ax.pcolormesh(
        edges, np.arange(len(epochs) + 1) - 0.5, by_d[:, 1:], vmin=0, vmax=1,
        cmap="viridis", rasterized=True,
    )  # fmt: skip
    best = 1 + by_d[:, 1:].argmax(axis=1)
    ax.plot(best, np.arange(len(epochs)), "o", color="w", markeredgecolor="k")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_yticks(np.arange(len(epochs)), labels=[str(epoch) for epoch in epochs])
    ax.set(xlabel="components d (dots: the best)", ylabel="epoch")
    ax.set_title(f"head cut to d, {rho:g} wrong")
    ax.grid(visible=False)
    fig.colorbar(mesh, ax=ax, label="test accuracy")


def _probes(ax: Axes, arrays, classes: int, rho: float) -> None:
    lines = (
        ("trained", _mean(arrays, "probe_noisy")[-1], 0, "-"),
        ("trained, true labels", _mean(arrays, "probe_true")[-1], 0, ":"),
        ("trained, tail after d", _mean(arrays, "probe_tail")[-1], 0, "--"),
        ("untrained", _mean(arrays, "probe_noisy")[0], 1, "-"),
    )
    for label, curve, colour, style in lines:
        ax.plot(
            np.arange(1, len(curve)), curve[1:], style, color=plots.PALETTE[colour],
            label=label,
        )  # fmt: skip
    for end, colour, label in (
        ("end", 2, "random, trained"),
        ("start", 3, "random, untrained"),
    ):
        draws = np.concatenate([each[f"probe_random_{end}"] for each in arrays])
        d = np.arange(1, draws.shape[1])
        mean, spread = draws.mean(axis=0)[1:], draws.std(axis=0)[1:]
        ax.plot(d, mean, color=plots.PALETTE[colour], label=label)
        ax.fill_between(
            d, mean - spread, mean + spread, color=plots.PALETTE[colour], alpha=0.25,
            linewidth=0,
        )  # fmt: skip
    _dimensions(ax, classes)
    ax.set_title(f"probes of d directions, {rho:g} wrong")
    _room_for_names(ax, 1.45)
    ax.legend(fontsize="x-small", loc="upper center", ncols=2)


def _probes_over_epochs(ax: Axes, arrays, row: Row, rho: float) -> None:
    """Probes of the first d components, and of the tail, at every snapshot."""
    probes, tails = _mean(arrays, "probe_noisy"), _mean(arrays, "probe_tail")
    classes, most = row["classes"], probes.shape[1] - 1
    shown = sorted({d for d in (2, 5, classes, 3 * classes, most) if 0 < d <= most})
    for number, d in enumerate(shown):
        ax.plot(
            row["snapshots"], probes[:, d], "o-", color=plots.PALETTE[number],
            label=f"first {d}", markersize=3,
        )  # fmt: skip
    ax.plot(
        row["snapshots"], tails[:, min(classes, most)], "--", color="0.4",
        label=f"all but {min(classes, most)}",
    )  # fmt: skip
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(0, row["epochs"])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="epoch", ylabel="test accuracy")
    ax.set_title(f"probes of components over epochs, {rho:g} wrong")
    _room_for_names(ax)
    ax.legend(fontsize="x-small", loc="upper center", ncols=3)


def _over_shares(ax: Axes, plain: Sequence[Row], classes: int) -> None:
    """Ways to choose over the share of wrong labels; dashed: labels say nothing."""
    shares = sorted({row["rho"] for row in plain})
    for number, (label, of) in enumerate(_KINDS):
        samples = [[row[of] for row in plain if row["rho"] == rho] for rho in shares]
        mean = np.array([np.mean(sample) for sample in samples])
        ends = np.array([(np.min(s), np.max(s)) for s in samples]).T
        ax.errorbar(
            shares, mean, yerr=np.abs(ends - mean[None]), fmt="o-", capsize=2,
            color=plots.PALETTE[number], label=label, markersize=3,
        )  # fmt: skip
    ax.axvline(1 - 1 / classes, color="0.5", linewidth=0.8, linestyle="--")
    ax.set(xlabel="share of wrong labels", ylabel="test accuracy")
    ax.set_title("last epoch (bars: least to most)")
    _room_for_names(ax)
    ax.legend(fontsize="x-small", ncols=2, loc="upper center")


def _spectrum(ax: Axes, arrays, rho: float) -> None:
    """Shares of the variance, each split into what labels explain of it."""
    variance = _mean(arrays, "part_variance")[-1][:_BARS]
    d = np.arange(1, len(variance) + 1)
    amounts = [
        np.mean(
            [(a["part_variance"] * a[f"part_{name}"])[-1][:_BARS] for a in arrays],
            axis=0,
        )
        for name in ("true", "noise_beyond")
    ]
    ax.bar(d, variance, width=0.85, color="0.85", label="share of the variance")
    ax.bar(d - 0.2, amounts[0], width=0.4, color=plots.PALETTE[0], label="true labels")
    ax.bar(
        d + 0.2, amounts[1], width=0.4, color=plots.PALETTE[1],
        label="wrong ones, beside them",
    )  # fmt: skip
    ax.set_yscale("log")
    ax.set(xlabel="component", ylabel="share of all variance", ylim=(1e-5, 10))
    ax.set_yticks(10.0 ** np.arange(-5, 1))
    ax.set_title(f"last epoch, {rho:g} wrong")
    ax.legend(fontsize="x-small")


def _bars(ax: Axes, rows: Sequence[Row]) -> None:
    """Whole and cut heads beside both ways to stop, for every noise."""
    by = arms(rows)
    names = list(by)
    for number, (label, of) in enumerate(_KINDS):
        samples = [[row[of] for row in group] for group in by.values()]
        mean = np.array([np.mean(sample) for sample in samples])
        ends = np.array([(np.min(s), np.max(s)) for s in samples]).T
        ax.bar(
            np.arange(len(names)) + 0.2 * number - 0.3, mean, width=0.19, label=label,
            yerr=np.abs(ends - mean[None]), color=plots.PALETTE[number],
            error_kw={"linewidth": 0.8},
        )  # fmt: skip
    labels = [
        f"{mode}\n{rho:g}" + (f"\ndecay {decay:g}" if decay else "")
        for mode, rho, decay in names
    ]
    ax.set_xticks(np.arange(len(names)), labels=labels, fontsize="small")
    ax.set(ylabel="test accuracy", title="ways to choose (bars: least to most)")
    _room_for_names(ax)
    ax.legend(fontsize="x-small", ncols=2, loc="upper center")
    ax.grid(visible=False, axis="x")

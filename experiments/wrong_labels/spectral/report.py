"""Rows of truncated networks: tables, what is expected, what the source claims."""

import dataclasses
from collections.abc import Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import tables, verdicts
from experiments.shared.verdicts import Expected
from experiments.wrong_labels.spectral import shares
from experiments.wrong_labels.spectral.snapshots import WINDOWS

Arm = tuple[str, float, float]
_AT = 0.4  # share of wrong labels of most figures that are expected
_DIMENSIONS = (2, 5, 8, 9, 10, 11, 12, 15, 20, 30, 50, 100, 200)
_ACCURACIES = (
    ("full", "full"),
    ("best epoch*", "best_epoch"),
    ("stopped", "stop"),
    ("best d*", "best_truncated"),
    ("d by val.", "truncated"),
    ("d = C", "at_classes"),
    ("eff. rank", "at_effective_rank"),
    ("low rank", "low_rank"),
    ("random d", "projected"),
)
_PROBES = (
    ("d = C", "untrained_at_classes"),
    ("best", "untrained_best"),
    ("best d", "untrained_d_best"),
    ("full", "untrained_full"),
    ("rand. C", "untrained_random"),
    ("d = C", "probe_at_classes"),
    ("best", "probe_best"),
    ("best d", "probe_d_best"),
    ("full", "probe_full"),
    ("rand. C", "probe_random"),
    ("tail", "probe_tail"),
)
_PARTS = (
    ("rank at 0", "effective_rank_start"),
    ("rank", "effective_rank"),
    ("true at 0", "reach_true_start"),
    ("true", "reach_true"),
    ("wrong", "reach_noise"),
    ("beside, 0", "reach_beyond_start"),
    ("beside", "reach_beyond"),
    ("index", "index"),
    ("beside", "index_beyond"),
    ("tail test", "tail"),
    ("tail fit", "fit_tail"),
    ("top fit", "fit_top"),
)


def arms(rows: Sequence[Row]) -> dict[Arm, list[Row]]:
    """Rows of each noise, share and weight decay, by repeat.

    Another optimiser than that of the first row is said with the noise.
    """
    found: dict[Arm, list[Row]] = {}
    for row in rows:
        by = row["optimiser"]
        mode = row["mode"] + (f", {by}" if by != rows[0]["optimiser"] else "")
        found.setdefault((mode, row["rho"], row["decay"]), []).append(row)
    return found


def name(arm: Arm) -> str:
    """An arm in words."""
    mode, rho, decay = arm
    return f"{mode} {rho:g}" + (f", decay {decay:g}" if decay else "")


def values(rows: Sequence[Row], of: str) -> np.ndarray:
    """One number of every repeat; NaN where there is none."""
    return np.array([np.nan if row[of] is None else row[of] for row in rows], float)


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Accuracies of every choice, probes, segregation, stability, expectations."""
    by = arms(rows)
    lines = ["", "test accuracy; * chosen by test labels, all else by noisy ones"]
    lines += _block(by, _ACCURACIES)
    lines += ["", "chosen epochs and d, by repeat"]
    lines += [_chosen(arm, group) for arm, group in by.items()]
    lines += ["", "test accuracy of the head on the first d components"]
    lines += _by_dimension(directory, by)
    lines += ["", "probes fitted to noisy labels: untrained (left), trained"]
    lines += _block(by, _PROBES, width=8, errors=False)
    lines += [
        "",
        "effective rank; d with 90 % of what labels explain: true, wrong, wrong beside "
        "true ones (untrained: chance); flipped labels",
    ]
    lines += _block(by, _PARTS, width=10, errors=False)
    lines += ["", "spread of accuracy about the choice by noisy validation labels"]
    lines += _stability(by)
    lines += shares.lines(_flipped(by))
    lines += verdicts.lines(expected(by))
    return "\n".join([*lines, *claims(by), ""])


def _block(
    by: dict[Arm, list[Row]],
    columns: tuple[tuple[str, str], ...],
    *,
    width=14,
    errors=True,
) -> list[str]:
    lines = [f"{'':>18}" + "".join(f"{head:>{width}}" for head, _ in columns)]
    for arm, group in by.items():
        entries = (_entry(values(group, of), width, errors) for _, of in columns)
        lines.append(f"{name(arm):>18}" + "".join(entries))
    return lines


def _entry(sample: np.ndarray, width: int, errors: bool = True) -> str:
    error = theory.standard_error(sample) if errors else np.nan
    digits = 3 if abs(sample.mean()) < 2 else 1
    return f"{tables.number(sample.mean(), error, digits=digits).rstrip():>{width}}"


def _chosen(arm: Arm, group: Sequence[Row]) -> str:
    chosen = (
        ("epoch*", "epoch_best"),
        ("epoch", "epoch_stop"),
        ("d*", "d_best"),
        ("d", "d"),
        ("low rank", "d_low_rank"),
    )
    said = (f"{head} {'/'.join(str(r[of]) for r in group)}" for head, of in chosen)
    return f"{name(arm):>18}  " + "   ".join(said)


def _by_dimension(directory: RunDirectory, by: dict[Arm, list[Row]]) -> list[str]:
    curves = {
        arm: np.mean([directory.arrays(row)["by_d"][-1] for row in group], axis=0)
        for arm, group in by.items()
    }
    last = min(len(curve) for curve in curves.values()) - 1
    shown = [*(d for d in _DIMENSIONS if d < last), last]
    lines = [f"{'d':>18}" + "".join(f"{d:>7}" for d in shown)]
    for arm, curve in curves.items():
        lines.append(f"{name(arm):>18}" + "".join(f"{curve[d]:>7.3f}" for d in shown))
    return lines


def _stability(by: dict[Arm, list[Row]]) -> list[str]:
    heads = [f"{what} ±{k}" for k in WINDOWS for what in ("epochs", "d")]
    heads += ["epoch late", "d late"]
    lines = [f"{'':>18}" + "".join(f"{head:>12}" for head in heads)]
    for arm, group in by.items():
        spreads = [
            np.mean([row[f"spread_{what}"][i] for row in group])
            for i in range(len(WINDOWS))
            for what in ("epochs", "d")
        ]
        late = [
            (values(group, f"{what}_late") - values(group, what)).mean()
            for what in ("stop", "truncated")
        ]
        lines.append(
            f"{name(arm):>18}"
            + "".join(f"{value:>12.4f}" for value in spreads)
            + "".join(f"{value:>+12.4f}" for value in late)
        )
    return lines


def _first(by: dict[Arm, list[Row]], rho: float) -> list[Row]:
    """Rows at a share of labels flipped, without weight decay."""
    return by.get(("flip", rho, 0.0), [])


def _flipped(by: dict[Arm, list[Row]]) -> dict[float, list[Row]]:
    """Rows of flipped labels without decay, by share."""
    return {
        rho: group
        for (mode, rho, decay), group in by.items()
        if mode == "flip" and not decay
    }


def expected(by: dict[Arm, list[Row]]) -> list[Expected]:
    """What is expected of flipped labels; the source's abstract gives no figures."""
    lines: list[Expected] = []
    if group := _first(by, _AT):
        of = lambda name: values(group, name)
        c = group[0]["classes"]
        at = f"rho = {_AT:g}: "
        wrong = np.abs(of("d") - of("d_best"))
        lost = of("best_truncated") - of("truncated")
        optimum = of("untrained_best") - of("untrained_full")
        ahead = of("probe_at_classes") - of("untrained_at_classes")
        gain = of("truncated") - of("full")
        lines += [
            Expected(what=at + "gain of d by validation", own=gain, least=0.08),
            Expected(
                what=at + "d by validation",
                own=of("d").tolist(),
                least=c - 2,
                most=c + 6,
            ),
            Expected(what=at + "its distance from the best", own=wrong, most=2),
            Expected(what=at + "what that costs", own=lost, most=0.01),
            Expected(what=at + "tail alone, test", own=of("tail").tolist(), most=0.15),
            Expected(
                what=at + "tail alone, flipped labels",
                own=of("fit_tail").tolist(),
                least=0.6,
            ),
            Expected(
                what=at + "untrained: best d of probes",
                own=of("untrained_d_best").tolist(),
                least=3 * c,
            ),
            Expected(what=at + "untrained: best d over all", own=optimum, most=0.08),
            Expected(what=at + "probe, d = C, over untrained", own=ahead, least=0.1),
        ]
    if group := _first(by, 0.0):
        cost = values(group, "full") - values(group, "at_classes")
        lines.append(Expected(what="rho = 0: cost of d = C", own=cost, most=0.02))
    lines += shares.expected(_flipped(by))
    return [dataclasses.replace(each, source="none; ours") for each in lines]


def claimed(by: dict[Arm, list[Row]]) -> dict[str, np.ndarray]:
    """Claims of the source, each with numbers that are positive where it holds."""
    group = _first(by, _AT)
    if not group:
        return {}
    of = lambda name: values(group, name)
    spreads = [
        np.array([row[f"spread_{what}"][0] for row in group])
        for what in ("epochs", "d")
    ]
    found = {
        "wrong labels lie further out than right ones (d90 beside, less true)": of(
            "reach_beyond"
        )
        - of("reach_true"),
        "training moves wrong labels outwards (d90 beside, less untrained)": of(
            "reach_beyond"
        )
        - of("reach_beyond_start"),
        "training puts the right ones in front (probe at d = C, less untrained)": of(
            "probe_at_classes"
        )
        - of("untrained_at_classes"),
        "truncation helps (d by validation, less full head)": of("truncated")
        - of("full"),
        "truncation recovers the optimum (d by validation, less best epoch)": of(
            "truncated"
        )
        - of("best_epoch"),
        "truncation is steadier than stopping (spread of ±1 epoch, less ±1 d)": (
            spreads[0] - spreads[1]
        ),
    }
    for mode in ("next", "nearest"):
        other = by.get((mode, _AT, 0.0), [])
        if len(other) == len(group):
            gains = values(other, "truncated") - values(other, "full")
            found[
                f"it helps less where noise is a rule ({mode}; difference of gains)"
            ] = of("truncated") - of("full") - gains
    return found


def claims(by: dict[Arm, list[Row]]) -> list[str]:
    """Says of each claim whether it holds, and how far from the optimum one stays."""
    found, lines = claimed(by), []
    if not found:
        return lines
    lines += [
        "",
        "The source was withdrawn by its author (version 2, 3 April 2026); its "
        f"abstract gives no figures. Its claims, at {_AT:g} of the labels flipped:",
    ]
    width = max(len(text) for text in found)
    for text, sample in found.items():
        count, n = int((sample > 0).sum()), len(sample)
        holds = {n: "holds", 0: "DOES NOT HOLD"}.get(
            count, f"in {count} of {n} repeats"
        )
        span = f"[{sample.min():+.3f}, {sample.max():+.3f}]"
        lines.append(f"  {text:<{width}}  {sample.mean():+.3f} {span}  {holds}")
    group = _first(by, _AT)
    full, cut, best = (
        values(group, each).mean() for each in ("full", "truncated", "best_epoch")
    )
    if best > full:
        lines.append(
            f"  Truncation recovers {(cut - full) / (best - full):.0%} of what the "
            f"last epoch lost, and stays {best - cut:.3f} below the best epoch."
        )
    return lines

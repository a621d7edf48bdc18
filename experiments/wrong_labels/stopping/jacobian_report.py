"""Rows that hold a distance budget or a spectrum: their lines, what is expected."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row
from experiments.shared import tables
from experiments.shared.verdicts import Expected
from ntk_corrupt.label_noise import stopping

Paths = Mapping[float, Sequence[Mapping[str, np.ndarray]]]
# As `report` has it: the relative distance at which it stops whatever the problem.
FIXED = 0.3
# How far a rule may stay below the best epoch; the source's largest count of values
# above a tenth of the largest; how alike counts before and after are.
_NEAR, _COUNT, _ALIKE = 0.02, 20, (0.5, 2.0)
# Energy of the true labels in the first directions less that of the noise.
_APART = 0.4


def _text(values, digits: int = 3) -> str:
    values = np.array(values, float)
    if not np.isfinite(values).all():
        return f"{'-':>15}"
    error = theory.standard_error(values)
    return tables.number(values.mean(), error, width=8, digits=digits)


def _line(name: str, columns, digits: int = 3) -> str:
    return f"{name:<36}" + "".join(_text(values, digits) for values in columns)


def _stops(rows: Sequence[Row], paths) -> dict[str, list[int]]:
    """Epochs at which the budget of each row and the fixed one stop."""
    pairs = list(zip(rows, paths, strict=True))
    return {
        "E+/beta": [
            stopping.distance_budget(p["distance"], r["budget"]) for r, p in pairs
        ],
        f"distance {FIXED:g}": [
            stopping.distance_budget(p["distance"], FIXED) for _, p in pairs
        ],
    }


def _at(paths, name: str, steps: Sequence[int]) -> list[float]:
    return [path[name][step] for path, step in zip(paths, steps, strict=True)]


def table(rows: Mapping[float, Sequence[Row]], paths: Paths) -> Iterator[str]:
    """Lines of a group: budgets, spectra; none where there are none."""
    some = next(iter(rows.values()))[0]
    if "budget" in some:
        yield ""
        yield "distance budget E+/beta, over the norm of the start"
        yield _line("E+/beta", [[r["budget"] for r in of] for of in rows.values()], 4)
        best = [
            [p["distance"][r["oracle"]] / r["budget"]
             for r, p in zip(of, paths[share], strict=True)]
            for share, of in rows.items()
        ]  # fmt: skip
        yield _line("distance of the best epoch, in it", best, 1)
        for name in _stops(next(iter(rows.values())), paths[next(iter(rows))]):
            steps = [_stops(of, paths[share])[name] for share, of in rows.items()]
            tests = [_at(of, "test", at)
                     for of, at in zip(paths.values(), steps, strict=True)]  # fmt: skip
            yield _line(f"test, stop at {name}", tests)
            said = [f"{np.median(e):g} ({min(e)}-{max(e)})" for e in steps]
            yield f"{'':<36}" + "".join(f"{each:>15}" for each in said)
    if "spectrum_start" in some:
        yield ""
        yield "Jacobian of f_0 - f_1 at images of two classes"
        for name, what, digits in (
            ("above", "values above a tenth", 1),
            ("rank", "sum of squares/largest", 2),
            ("clean", "true labels in first ten", 3),
            ("noise", "noise in first ten", 3),
        ):
            for at, when in (("start", "before"), ("end", "after")):
                columns = [[r[f"spectrum_{at}"][name] for r in of]
                           for of in rows.values()]  # fmt: skip
                yield _line(f"{what}, {when}", columns, digits)


def expected(rows: Mapping[float, Sequence[Row]], paths: Paths) -> Iterator[Expected]:
    """What is expected of them, share by share."""
    for share, of in rows.items():
        if "budget" in of[0]:
            best = np.array([r["at_oracle"]["test"] for r in of])
            for name, steps in _stops(of, paths[share]).items():
                yield Expected(
                    what=f"{share:g}: test, oracle - stop at {name}",
                    own=(best - _at(paths[share], "test", steps)).tolist(),
                    most=_NEAR,
                    source="own",
                )
        if "spectrum_start" not in of[0]:
            continue
        above = {
            at: np.array([r[f"spectrum_{at}"]["above"] for r in of], float)
            for at in ("start", "end")
        }
        for at, when in (("start", "before"), ("end", "after")):
            yield Expected(
                what=f"{share:g}: values above a tenth of the largest, {when}",
                own=above[at].tolist(),
                most=_COUNT,
                source="10 to 20 of 10 000",
            )
        yield Expected(
            what=f"{share:g}: the same, after/before",
            own=(above["end"] / above["start"]).tolist(),
            least=_ALIKE[0],
            most=_ALIKE[1],
            source="alike",
        )
        clean, noise = (
            [r["spectrum_start"][k] for r in of] for k in ("clean", "noise")
        )
        if share > 0 and None not in noise:
            yield Expected(
                what=f"{share:g}: first ten, true labels less noise",
                own=(np.array(clean) - np.array(noise)).tolist(),
                least=_APART,
                source="own",
            )

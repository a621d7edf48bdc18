"""Trains blocks of members of an ensemble: their images, their epochs, what is found.

`programs` holds what is compiled; here is what happens between the programs.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int

from ntk_corrupt.ensembles import programs
from ntk_corrupt.networks.tangent import Trainable
from ntk_corrupt.probes.basic import Probe
from ntk_corrupt.training.config import TrainConfig
from ntk_corrupt.training.epochs import Member
from theory.corruption.base import Corruption
from theory.errors import NumericalError
from theory.keys import stream

# (epochs done, mean loss) of a block
Report = Callable[[int, float], None]


class TrainedBlock(NamedTuple):
    """What is kept of the members of a block, (m, ...) each."""

    outputs: Any
    losses: Any
    epochs: Any
    reached: Any
    found: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DrawImages:
    """The images that a block trains on and is asked about, once for each draw.

    Those of the last draws are kept: consecutive blocks often belong to one draw.

    Attributes:
        corruption: the corruption of the training images.
        test_corruption: of the test images; None leaves them clean.
        key: of the corruption.
        x_train, labels, x_test: clean images, and the labels of all copies.
        copies: of every training image.
        fresh: whether every epoch corrupts anew.
        room: draws in one array: always as many, so that one program serves.
    """

    corruption: Corruption
    test_corruption: Corruption | None
    key: Array
    x_train: Float[Array, "n d"]
    labels: Int[Array, " m"]
    x_test: Float[Array, "k d"]
    copies: int
    fresh: bool
    room: int

    _last: dict[str, tuple[Any, Array]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def train(self, draws: tuple[int, ...], epoch: int) -> Array:
        """Returns corrupted training images (room, copies n, d)."""
        return self._kept("train", self._corrupted, draws, epoch)

    def test(self, draws: tuple[int, ...]) -> Array:
        """Returns test images: (k, d), or (room, k, d) if they differ by draw."""
        return self._kept("test", self._asked, draws)

    def _kept(self, name: str, make: Callable[..., Array], *at) -> Array:
        # not a cache of a method: a circle, that would hold its images until collected
        if name not in self._last or self._last[name][0] != at:
            self._last[name] = at, make(*at)
        return self._last[name][1]

    def _corrupted(self, draws: tuple[int, ...], epoch: int) -> Array:
        key = self.key
        if self.fresh:
            key = jax.random.fold_in(stream(key, "fresh"), epoch)
        numbers = np.resize(draws, self.room)
        return programs.corrupted(
            self.corruption, key, numbers, self.x_train, copies=self.copies
        )

    def _asked(self, draws: tuple[int, ...]) -> Array:
        if self.test_corruption is None:
            return self.x_test
        numbers = np.resize(draws, self.room)
        return programs.corrupted_test(
            self.test_corruption, self.key, numbers, self.x_test
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trainer:
    """Trains one block of members after the other.

    Attributes:
        model: the network.
        config: how it is trained; its regime is that of `images`.
        images: what it is trained on.
        probes: what else to measure on every trained network.
        split: how the members of a block lie on the devices.
    """

    model: Trainable
    config: TrainConfig
    images: DrawImages
    probes: Sequence[Probe]
    split: NamedSharding

    def __call__(
        self, members: Int[np.ndarray, "m 2"], new: int, report: Report
    ) -> TrainedBlock:
        """Trains a block; keeps its first `new` members, the others pad it.

        Args:
            members: (draw, init) of each.
            new: how many of them are not padding.
            report: called after every epoch; the last time with all epochs done.

        Raises:
            NumericalError: if a network diverges.
        """
        drawn, held = np.unique(members[:, 0], return_inverse=True)
        draws = tuple(drawn.tolist())
        held = jax.device_put(held.reshape(-1).astype(np.int32), self.split)
        spread = jax.device_put(members, self.split)
        state, x = self._trained(members, draws, held, spread, new, report)
        outputs, losses = programs.finish(
            self.model,
            self.config,
            state,
            held,
            x,
            self.images.labels,
            self.images.test(draws),
        )
        self._check_finite(np.asarray(losses), members)
        found = {}
        if self.probes:
            asked = self.model, self.config, tuple(self.probes), state, self.images.key
            found = programs.probed(*asked, spread, split=self.split)
        result = TrainedBlock(outputs, losses, state.epochs, ~state.active, found)
        return jax.tree.map(lambda part: part[:new], jax.device_get(result))

    def _trained(
        self, members, draws, held, spread, new: int, report: Report
    ) -> tuple[Member, Array]:
        """The members at the end of training, and the images of its last epoch."""
        config, images = self.config, self.images
        state = programs.start(
            self.model,
            config,
            images.key,
            spread,
            d=images.x_train.shape[1],
            split=self.split,
        )
        x = images.train(draws, 0)
        for epoch in range(config.epochs):
            x = images.train(draws, epoch if images.fresh else 0)
            state, losses = programs.epoch(
                self.model,
                config,
                state,
                held,
                x,
                images.labels,
                epoch,
                split=self.split,
            )
            losses = np.asarray(losses)
            self._check_finite(losses, members)
            stop = config.stop_loss is not None and not np.asarray(state.active).any()
            report(config.epochs if stop else epoch + 1, float(losses[:new].mean()))
            if stop:
                break
        return state, x

    def _check_finite(self, losses: np.ndarray, members: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            draw, init = members[bad[0]]
            raise NumericalError(
                f"training diverged (loss {losses[bad[0]]} in draw {draw}, init "
                f"{init}): lower `learning_rate`, now "
                f"{float(self.config.learning_rate):g}."
            )

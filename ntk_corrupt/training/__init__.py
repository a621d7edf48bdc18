"""How networks are trained, and their paths."""

from ntk_corrupt.training.config import TrainConfig as TrainConfig

"""Corruptions: moments for the theory, samples for the networks, one definition."""

from theory.corruption.base import Corruption as Corruption
from theory.corruption.base import PixelMoments as PixelMoments
from theory.corruption.copies import corrupt as corrupt
from theory.corruption.copies import corrupt_copies as corrupt_copies
from theory.corruption.copies import corrupt_problem as corrupt_problem
from theory.corruption.copies import corrupt_test as corrupt_test
from theory.corruption.corruptions import Additive as Additive
from theory.corruption.corruptions import BinaryReplacement as BinaryReplacement
from theory.corruption.corruptions import ClippedAdditive as ClippedAdditive
from theory.corruption.corruptions import Replacement as Replacement
from theory.corruption.noises import Bernoulli as Bernoulli
from theory.corruption.noises import CustomNoise as CustomNoise
from theory.corruption.noises import Laplace as Laplace
from theory.corruption.noises import Noise as Noise
from theory.corruption.noises import Normal as Normal
from theory.corruption.noises import NormalMixture as NormalMixture
from theory.corruption.noises import Rademacher as Rademacher
from theory.corruption.noises import Uniform as Uniform

"""Networks that learn from adversarial perturbations of another."""

from ntk_corrupt.adversarial.protocol import Protocol as Protocol
from ntk_corrupt.adversarial.protocol import Scores as Scores
from ntk_corrupt.adversarial.protocol import agreement as agreement
from ntk_corrupt.adversarial.protocol import draw_targets as draw_targets
from ntk_corrupt.adversarial.protocol import first as first
from ntk_corrupt.adversarial.protocol import scores as scores
from ntk_corrupt.adversarial.protocol import second as second
from ntk_corrupt.adversarial.protocol import second_inputs as second_inputs

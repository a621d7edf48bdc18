"""Activations and their duals: by name, or of your own."""

from theory.activations.registry import Activation as Activation
from theory.activations.registry import custom as custom
from theory.activations.registry import get as get
from theory.activations.registry import leaky_relu as leaky_relu
from theory.activations.registry import monomial as monomial
from theory.activations.registry import names as names

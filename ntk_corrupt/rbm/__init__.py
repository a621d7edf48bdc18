"""Restricted Boltzmann machines, and classifiers made of them."""

from ntk_corrupt.rbm.machine import Rbm as Rbm
from ntk_corrupt.rbm.machine import cd_gradient as cd_gradient
from ntk_corrupt.rbm.machine import fit as fit
from ntk_corrupt.rbm.machine import free_energy as free_energy
from ntk_corrupt.rbm.machine import hidden as hidden
from ntk_corrupt.rbm.machine import log_likelihood as log_likelihood
from ntk_corrupt.rbm.machine import log_partition as log_partition
from ntk_corrupt.rbm.machine import pseudo_likelihood as pseudo_likelihood
from ntk_corrupt.rbm.machine import visible as visible

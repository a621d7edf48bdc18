"""NNGP and tangent kernels of an architecture."""

from theory.kernels.architecture import Architecture as Architecture
from theory.kernels.matrices import gram as gram
from theory.kernels.matrices import gram_product as gram_product
from theory.kernels.matrices import nngp as nngp
from theory.kernels.matrices import nngp_ntk as nngp_ntk
from theory.kernels.matrices import nngp_ntk_diag as nngp_ntk_diag
from theory.kernels.matrices import ntk as ntk
from theory.kernels.matrices import ntk_gram as ntk_gram
from theory.kernels.matrices import ntk_product as ntk_product
from theory.kernels.propagation import KernelPair as KernelPair

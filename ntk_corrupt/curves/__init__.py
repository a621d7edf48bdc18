"""Curves of accuracy: fits, crossings, scaling, intervals."""

from ntk_corrupt.curves.collapse_quality import CollapseQuality as CollapseQuality
from ntk_corrupt.curves.crossings import first_crossing as first_crossing
from ntk_corrupt.curves.crossings import half_height as half_height
from ntk_corrupt.curves.sigmoid import Sigmoid as Sigmoid
from ntk_corrupt.curves.sigmoid import fit_sigmoid as fit_sigmoid

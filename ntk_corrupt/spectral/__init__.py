"""Heads cut to principal components of the features they read."""

from ntk_corrupt.spectral.heads import Head as Head
from ntk_corrupt.spectral.heads import split as split
from ntk_corrupt.spectral.heads import with_head as with_head
from ntk_corrupt.spectral.kept_dimensions import accuracy as accuracy
from ntk_corrupt.spectral.kept_dimensions import best_dimension as best_dimension
from ntk_corrupt.spectral.kept_dimensions import dimensions as dimensions
from ntk_corrupt.spectral.truncation import SpectralTruncation as SpectralTruncation
from ntk_corrupt.spectral.truncation import Truncation as Truncation
from ntk_corrupt.spectral.truncation import of_head as of_head

"""Images and labels in, a `theory.Problem` out: by name, from files, from arrays."""

from ntk_corrupt.data.duplicates import find_duplicates as find_duplicates
from ntk_corrupt.data.loading import NAMES as NAMES
from ntk_corrupt.data.loading import from_arrays as from_arrays
from ntk_corrupt.data.loading import load as load
from ntk_corrupt.data.loading import load_from_disk as load_from_disk
from ntk_corrupt.data.normalise import NORMALISATIONS as NORMALISATIONS
from ntk_corrupt.data.prepared import prepare_tfds as prepare_tfds
from ntk_corrupt.data.prototypes import gaussian_prototypes as gaussian_prototypes

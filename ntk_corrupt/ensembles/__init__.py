"""Networks trained as ensembles: corruption draws times initialisations."""

from ntk_corrupt.ensembles.ensemble import measure as measure
from ntk_corrupt.ensembles.linearised import measure_linearised as measure_linearised

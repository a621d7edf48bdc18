"""Networks trained as ensembles: corruption draws times initialisations."""

from ntk_corrupt.ensembles.ensemble import measure as measure

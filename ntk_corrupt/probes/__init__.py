"""What is looked at in trained networks."""

from ntk_corrupt.probes.basic import Accuracies as Accuracies
from ntk_corrupt.probes.basic import AliveUnits as AliveUnits
from ntk_corrupt.probes.basic import Kernel as Kernel
from ntk_corrupt.probes.basic import Parameters as Parameters
from ntk_corrupt.probes.margins import Margins as Margins
from ntk_corrupt.probes.margins import margin as margin

"""What every route returns: laws and draws of outputs, and what is asked of them."""

from theory.outputs.calibration import Reliability as Reliability
from theory.outputs.calibration import reliability as reliability
from theory.outputs.comparison import Comparison as Comparison
from theory.outputs.comparison import centred as centred
from theory.outputs.comparison import compare as compare
from theory.outputs.covariances import CrossCovariance as CrossCovariance
from theory.outputs.draws import Draws as Draws
from theory.outputs.flips import flip_bound as flip_bound
from theory.outputs.flips import flip_probability as flip_probability
from theory.outputs.flips import observed_flips as observed_flips
from theory.outputs.flips import stable as stable
from theory.outputs.law import OutputLaw as OutputLaw
from theory.outputs.statistics import Line as Line
from theory.outputs.statistics import fit_line as fit_line
from theory.outputs.statistics import standard_error as standard_error
from theory.outputs.training_path import TrainingPath as TrainingPath

"""What infinitely wide networks learn from corrupted inputs, in closed form."""

from theory import architectures as architectures
from theory.activations.registry import Activation as Activation
from theory.activations.registry import custom as custom
from theory.activations.registry import leaky_relu as leaky_relu
from theory.activations.registry import monomial as monomial
from theory.corruption.base import Corruption as Corruption
from theory.corruption.base import PixelMoments as PixelMoments
from theory.corruption.copies import corrupt as corrupt
from theory.corruption.copies import corrupt_copies as corrupt_copies
from theory.corruption.copies import corrupt_test as corrupt_test
from theory.corruption.corruptions import Additive as Additive
from theory.corruption.corruptions import BinaryReplacement as BinaryReplacement
from theory.corruption.corruptions import ClippedAdditive as ClippedAdditive
from theory.corruption.corruptions import Replacement as Replacement
from theory.corruption.noises import Bernoulli as Bernoulli
from theory.corruption.noises import CustomNoise as CustomNoise
from theory.corruption.noises import Laplace as Laplace
from theory.corruption.noises import Noise as Noise
from theory.corruption.noises import Normal as Normal
from theory.corruption.noises import NormalMixture as NormalMixture
from theory.corruption.noises import Rademacher as Rademacher
from theory.corruption.noises import Uniform as Uniform
from theory.errors import InputError as InputError
from theory.errors import NumericalError as NumericalError
from theory.kernels.adam import adam_rates as adam_rates
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
from theory.problem import Problem as Problem
from theory.renamed import moved
from theory.routes.exact.direct import exact as exact
from theory.routes.exact.iterative import exact_iterative as exact_iterative
from theory.routes.exact.paths import ridge_path as ridge_path
from theory.routes.exact.paths import trajectory as trajectory
from theory.routes.exact.solvers import Cholesky as Cholesky
from theory.routes.exact.solvers import ConjugateGradient as ConjugateGradient
from theory.routes.first_order.certificate import Certificate as Certificate
from theory.routes.first_order.certificate import certificate as certificate
from theory.routes.first_order.class_means import class_mean_scores as class_mean_scores
from theory.routes.first_order.gain_sign import GainSign as GainSign
from theory.routes.first_order.gain_sign import gain_sign as gain_sign
from theory.routes.first_order.law import FirstOrderLaw as FirstOrderLaw
from theory.routes.first_order.law import first_order as first_order
from theory.routes.first_order.of_stack import StackLaw as StackLaw
from theory.routes.online.law import OnlineLaw as OnlineLaw
from theory.routes.online.law import online as online
from theory.routes.online.law import online_at as online_at
from theory.routes.resummed.law import ResummedLaw as ResummedLaw
from theory.routes.resummed.law import resummed as resummed
from theory.routes.resummed.law import resummed_at as resummed_at
from theory.routes.resummed.surrogate import surrogate as surrogate

# Modules that stood outside the folders, for one version more.
moved(
    "theory",
    {
        "activations": "duals=closed_forms hermite",
        "corruption": "corrupted=copies noises",
        "kernels": "propagation perturbation=slopes kernel_blocks=tiling",
        "linearised": "image_moments kernel_rows landmarks linearise mean_kernel "
        "measured=training_kernel",
        "numerics": "blocks solve",
        "outputs": "accuracy spread=accuracy_spread compare=comparison "
        "cross=covariances laws=draws stability=flips output_law=law orthant storage "
        "training_path",
        "regression": "equivalent flow poles responses",
        "routes.exact": "conjugate_gradient exact=direct draw_loop eigen_draw "
        "exact_iterative=iterative dynamics=paths tiled_cholesky tiles",
        "routes.first_order": "isotropic=dressing fluctuations sign=gain_sign "
        "first_order=law",
        "routes.resummed": "resummed=law predictions surrogate doubts=validity",
        "two_layer": "cluster_covariance=clusters adversarial=perturbations",
    },
)

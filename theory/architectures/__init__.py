"""Networks beyond the multilayer perceptron: their kernels, and what they see."""

from theory.architectures.kernels import gram as gram
from theory.architectures.kernels import nngp_ntk as nngp_ntk
from theory.architectures.layers import AveragePooling as AveragePooling
from theory.architectures.layers import Convolution as Convolution
from theory.architectures.layers import Dense as Dense
from theory.architectures.layers import Flatten as Flatten
from theory.architectures.layers import GlobalAverage as GlobalAverage
from theory.architectures.layers import Phi as Phi
from theory.architectures.layers import Residual as Residual
from theory.architectures.pixel_metric import Metric as Metric
from theory.architectures.pixel_metric import metric as metric
from theory.architectures.stack import Stack as Stack
from theory.architectures.stack import convolutional as convolutional
from theory.architectures.stack import dense as dense

"""The networks of `ntk_corrupt.networks`, under the name that users know them by."""

from ntk_corrupt.networks.cnn import CNN as CNN
from ntk_corrupt.networks.cnn import cnn as cnn
from ntk_corrupt.networks.layers import PARAMETRISATIONS as PARAMETRISATIONS
from ntk_corrupt.networks.layers import Layer as Layer
from ntk_corrupt.networks.layers import LocalLayer as LocalLayer
from ntk_corrupt.networks.layers import Tap as Tap
from ntk_corrupt.networks.layers import tapped as tapped
from ntk_corrupt.networks.mlp import MLP as MLP
from ntk_corrupt.networks.mlp import mlp as mlp
from ntk_corrupt.networks.resnet import resnet as resnet
from ntk_corrupt.networks.stacked import Stacked as Stacked
from ntk_corrupt.networks.stacked import network as network

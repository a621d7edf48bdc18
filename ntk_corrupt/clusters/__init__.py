"""Clusters with wrong labels: points, descent, Jacobians, theorems."""

from ntk_corrupt.clusters.points import corrupt as corrupt
from ntk_corrupt.clusters.points import draw as draw
from ntk_corrupt.clusters.points import xor_centres as xor_centres
from ntk_corrupt.clusters.sets import ClusterModel as ClusterModel
from ntk_corrupt.clusters.sets import ClusterSet as ClusterSet
from ntk_corrupt.clusters.sets import NoisyLabels as NoisyLabels

"""The 1797 images of 8 x 8 handwritten digits that come with scikit-learn.

They need no file and no network. The set has no official split. Ours orders the images
of each class by a checksum of their pixels, takes the first two thirds for training and
the rest for testing: shuffled, stratified, and the same on every machine, because no
random generator takes part.
"""

import dataclasses
import hashlib
import zlib

import numpy as np

from ntk_corrupt.data.pool import Pool


def read_pool() -> Pool:
    """All digits: 1198 training and 599 test images, (n, 8, 8), values 0 ... 16."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = bunch.images.astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    checksums = np.array([zlib.crc32(image.tobytes()) for image in images])
    order = np.argsort(checksums, kind="stable")
    rank = np.empty(len(labels), dtype=np.int64)  # within the class, by checksum
    for i in range(10):
        members = order[labels[order] == i]
        rank[members] = np.arange(len(members))
    counts = np.bincount(labels)
    train = rank[order] < np.round(counts * 2 / 3)[labels[order]]
    return Pool(
        images_train=images[order[train]],
        labels_train=labels[order[train]],
        images_test=images[order[~train]],
        labels_test=labels[order[~train]],
        num_classes=10,
        scale=16.0,
    )


def read_colour_pool() -> Pool:
    """The same digits in colour: (n, 8, 8, 3), channels last, values in [0, 1].

    Every image has an ink, a channel of it in [1/2, 1], on a paper in [0, 1/2], both
    told by a checksum of its pixels: colours say nothing of the class.
    """
    grey = read_pool()
    return dataclasses.replace(
        grey,
        images_train=_coloured(grey.images_train),
        images_test=_coloured(grey.images_test),
        scale=1.0,
    )


def _coloured(images: np.ndarray) -> np.ndarray:
    sums = [hashlib.sha256(image.tobytes()).digest()[:6] for image in images]
    bytes_ = np.array([list(each) for each in sums]) / 510
    paper, ink = bytes_[:, None, None, :3], 0.5 + bytes_[:, None, None, 3:]
    return paper + (ink - paper) * (images[..., None] / 16)

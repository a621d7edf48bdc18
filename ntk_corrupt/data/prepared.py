"""Data sets prepared by TensorFlow Datasets (tfds), read without TensorFlow.

tfds can read a prepared set without TensorFlow when it is stored as array_record, which
`prepare_tfds` writes and `tfds.builder(name, file_format="array_record")` as well.
tfds is imported here, inside the functions, and nowhere else.
"""

import io
import pathlib
import re
from collections.abc import Iterator
from os import PathLike

import numpy as np

from ntk_corrupt.data import local
from ntk_corrupt.data.pool import Pool
from theory import files
from theory.errors import InputError, unknown

_BLOCK = 1000  # images read at once
_VERSION = "3.0.1"  # of the sets written here; that of tfds's own MNIST


def find(name: str, directory: pathlib.Path) -> pathlib.Path | None:
    """The folder of the newest prepared version of `name`, or None."""
    versions = [
        path.parent
        for path in (directory / name).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    ]
    return max(
        versions, key=lambda path: [*map(int, path.name.split("."))], default=None
    )


def read_pool(name: str, directory: pathlib.Path) -> Pool | None:
    """Reads `directory/name/<version>`: 60 us per image, 4 s for MNIST.

    Images come in the order in which they are stored. tfds shuffles when it prepares,
    so a subset of its own MNIST has other images than one from the IDX files;
    `prepare_tfds` keeps the order.

    Returns:
        The pool, or None when no version is prepared there.

    Raises:
        InputError: the set is stored in another format than array_record, has no
            training or test split, or is damaged.
    """
    folder = find(name, directory)
    if folder is None:
        return None
    tfds = _tfds()
    try:
        builder = tfds.builder_from_directory(folder)
        if not {"train", "test"} <= set(builder.info.splits):
            raise InputError(
                f"{folder} must have the splits 'train' and 'test', got "
                f"{', '.join(builder.info.splits) or 'none'}."
            )
        parts = {part: _read(builder, part) for part in ("train", "test")}
        num_classes = builder.info.features["label"].num_classes
    except InputError:
        raise
    except NotImplementedError:
        raise InputError(
            f"{folder} is stored as {builder.info.file_format.value}, which only "
            "TensorFlow reads: prepare it with file_format='array_record', or from "
            "local files with data.prepare_tfds."
        ) from None
    except Exception as error:  # damaged files: tfds raises whatever comes
        raise InputError(
            f"{folder} is damaged or of an unknown layout ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}): remove it and prepare it anew."
        ) from error
    return Pool(
        images_train=parts["train"][0],
        labels_train=parts["train"][1],
        images_test=parts["test"][0],
        labels_test=parts["test"][1],
        num_classes=num_classes,
    )


def _read(builder, part: str) -> tuple[np.ndarray, np.ndarray]:
    source = builder.as_data_source(part)
    # In blocks: one record at a time takes twice as long.
    examples = []
    for start in range(0, len(source), _BLOCK):
        block = range(start, min(start + _BLOCK, len(source)))
        examples += source.__getitems__(block)
    images = np.stack([example["image"] for example in examples])
    labels = np.array([example["label"] for example in examples])
    # Grey images: (n, h, w), as the IDX files have them.
    return (images[..., 0] if images.shape[-1] == 1 else images), labels


def prepare_tfds(
    source_dir: str | PathLike[str], data_dir: str | PathLike[str], name: str
) -> pathlib.Path:
    """Prepares a tfds data set from local files, without network or TensorFlow.

    The result is what tfds itself would prepare (features `image`, a PNG, and `label`;
    splits `train` and `test`), as array_record, with the images in their original
    order. MNIST takes 6 to 20 s.

    Args:
        source_dir: folder with the files of `name`, as `data.load` takes them.
        data_dir: where to prepare; made if needed.
        name: "mnist", "fashion_mnist", "kmnist" or "cifar10".

    Returns:
        The folder of the prepared set, `data_dir/name/<version>`.

    Raises:
        InputError: the name is unknown, `source_dir` does not have the files, or
            `data_dir` already has the set.
    """
    if name not in local.NAMES:
        raise unknown("data set", name, local.NAMES)
    target = files.expanded(data_dir)
    existing = find(name, target)
    if existing is not None:
        raise InputError(
            f"`data_dir` must not have {name!r} prepared already: remove {existing} to "
            "prepare it anew."
        )
    pool = local.read_pool(name, files.expanded(source_dir))
    if pool is None:
        raise InputError(
            f"`source_dir` = {source_dir} must hold the files of {name!r}, itself or "
            f"under {name}/: {local.files(name)}."
        )
    pool.check()
    builder = _builder(name, pool, target)
    builder.download_and_prepare()
    return pathlib.Path(builder.data_dir)


def _builder(name: str, pool: Pool, data_dir: pathlib.Path):
    """A tfds builder whose examples are the images of `pool`."""
    tfds = _tfds()
    shape = pool.images_train.shape[1:]

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(_VERSION)

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(*shape, 1)[:3]),
                    "label": tfds.features.ClassLabel(num_classes=pool.num_classes),
                }
            )
            return tfds.core.DatasetInfo(
                builder=self,
                features=features,
                supervised_keys=("image", "label"),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {part: self._generate_examples(part) for part in ("train", "test")}

        def _generate_examples(self, part):
            yield from enumerate(_examples(*pool.part(part)))

    Builder.name = name
    return Builder(data_dir=str(data_dir), file_format="array_record")


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[dict]:
    # tfds encodes arrays with TensorFlow, but takes bytes of a PNG as they are.
    from PIL import Image

    for image, label in zip(images, labels, strict=True):
        png = io.BytesIO()
        Image.fromarray(image).save(png, format="png")
        yield {"image": png.getvalue(), "label": int(label)}


def _tfds():
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"data sets prepared by tfds need tensorflow-datasets and "
            f"importlib_resources ({error}): pip install them, or supply local files."
        ) from None
    return tfds

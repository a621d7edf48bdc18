"""Data sets that Hugging Face's `datasets` has saved to disk, read with pyarrow alone.

`DatasetDict.save_to_disk` writes dataset_dict.json and a folder for each split, with
its features in dataset_info.json, the names of its files in state.json, and these files
as Arrow streams. Images are encoded files or nested lists of numbers. Nothing is
fetched and no code of a data set is run. pyarrow is imported here, inside a function:
`datasets` and tfds bring it in.
"""

import io
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ntk_corrupt.data import contents
from ntk_corrupt.data.pool import Pool
from theory.errors import InputError, unknown

_INDEX = "dataset_dict.json"


def read_pool(name: str, directory: pathlib.Path) -> Pool | None:
    """Reads `name` from `directory/name`, or from `directory` itself.

    Returns:
        The pool, or None where neither holds a saved data set.

    Raises:
        InputError: as in `read_saved`, or by its labels it is another set.
    """
    for folder in (directory / name, directory):
        if not (folder / _INDEX).is_file():
            continue
        pool = read_saved(folder)
        found = contents.named_by(pool.labels_train)
        if found not in (None, name):
            raise InputError(
                f"{folder} must hold {name!r}, but by its labels it holds {found!r}: "
                f"load it as {found!r}."
            )
        return pool
    return None


def read_saved(
    folder: pathlib.Path,
    *,
    image: str | None = None,
    label: str | None = None,
    splits: tuple[str, str] = ("train", "test"),
) -> Pool:
    """Reads a saved `DatasetDict`. MNIST: 60 us an image that is a PNG.

    Args:
        folder: that `save_to_disk` was given.
        image: the column of the images; None is the only one that can be.
        label: the column of the labels; None is the only one that can be.
        splits: those to train on and to test on.

    Returns:
        The pool: images (n, height, width) or (n, height, width, channels) in the order
        in which they are stored. Integers in 0 ... 255 are taken for bytes.

    Raises:
        InputError: the folder holds no such set, a column or split is not there or not
            the only one, images differ in shape, or a file is damaged.
    """
    there = _json(folder / _INDEX).get("splits", [])
    parts: dict[str, Any] = {}
    for part, split in zip(("train", "test"), splits, strict=True):
        if split not in there:
            raise unknown(f"split of {folder}", split, there)
        features = _json(folder / split / "dataset_info.json").get("features") or {}
        columns = {
            "images": _column("image", image, features, _may_be_images),
            "labels": _column("label", label, features, _may_be_labels),
        }
        table = _table(folder / split, columns.values())
        try:
            parts[f"images_{part}"] = _images(table.column(columns["images"]))
            parts[f"labels_{part}"] = table.column(columns["labels"]).to_numpy()
        except InputError as error:
            raise InputError(f"{folder / split}: {error}") from None
    names = features[columns["labels"]].get("names") or ()
    largest = max(int(parts[f"labels_{part}"].max()) for part in ("train", "test"))
    as_bytes = parts["images_train"].dtype == np.uint8
    return Pool(
        **parts,
        num_classes=len(names) or largest + 1,
        scale=255.0 if as_bytes else 1.0,
    )


def _json(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(
            f"{path.parent} must be what DatasetDict.save_to_disk wrote: "
            f"{path.name} cannot be read ({error.strerror})."
        ) from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: save the data set again.")
    return found


def _may_be_images(feature: Any) -> bool:
    kind = feature.get("_type", "") if isinstance(feature, Mapping) else "List"
    return kind in ("Image", "Array2D", "Array3D", "List", "Sequence", "LargeList")


def _may_be_labels(feature: Any) -> bool:
    if not isinstance(feature, Mapping):
        return False
    whole = "int" in str(feature.get("dtype"))
    return feature.get("_type") == "ClassLabel" or (
        feature.get("_type") == "Value" and whole
    )


def _column(argument: str, given: str | None, features: Mapping, may_be: Any) -> str:
    """The name of a column, given or the only one."""
    if given is not None:
        if given not in features:
            raise unknown(f"column (`{argument}`)", given, features)
        return given
    found = [name for name, feature in features.items() if may_be(feature)]
    if len(found) != 1:
        raise InputError(
            f"`{argument}` must name one of the columns {', '.join(features)}: "
            f"{len(found)} of them may be meant."
        )
    return found[0]


def _table(folder: pathlib.Path, columns: Any) -> Any:
    """The columns of all files of a split."""
    try:
        import pyarrow as pa
    except ImportError:
        raise InputError(
            "data sets saved by `datasets` need pyarrow: install it, or pass arrays."
        ) from None
    parts = []
    for each in _json(folder / "state.json").get("_data_files") or ():
        path = folder / pathlib.PurePath(str(each.get("filename"))).name
        try:
            with pa.memory_map(str(path)) as source:
                parts.append(
                    pa.ipc.open_stream(source).read_all().select(list(columns))
                )
        except (OSError, KeyError, pa.ArrowException) as error:
            why = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path} cannot be read ({why}): save the data set again."
            ) from None
    if not parts or not sum(part.num_rows for part in parts):
        raise InputError(f"{folder} must hold images, got none.")
    return pa.concat_tables(parts)


def _images(column: Any) -> np.ndarray:
    """A column as one array: encoded files, or lists of lists of numbers."""
    import pyarrow as pa

    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):  # of no chunk, or older pyarrow
        values = pa.concat_arrays(values.chunks)
    if isinstance(values, pa.ExtensionArray):  # where `datasets` is imported
        values = values.storage
    if pa.types.is_struct(values.type):
        return _stacked(_decoded(values))
    shape = [len(values)]
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        lengths = np.unique(values.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) != 1:
            raise InputError(
                "images must have one shape, got lists of several lengths."
            )
        shape.append(int(lengths[0]))
        values = values.flatten()
    numbers = values.to_numpy(zero_copy_only=False)
    if numbers.dtype.kind not in "buif" or len(shape) < 2:
        raise InputError(f"images must be numbers, got {values.type}.")
    whole = numbers.dtype.kind in "iu"
    if whole and numbers.min() >= 0 and numbers.max() <= 255:
        numbers = numbers.astype(np.uint8)  # lists of bytes are saved as integers
    return numbers.reshape(shape)


def _decoded(values: Any) -> Iterator[np.ndarray]:
    from PIL import Image

    for each in values.field("bytes"):
        if not each.is_valid:
            raise InputError(
                "images must be saved with their contents, got paths: save_to_disk "
                "embeds them."
            )
        try:
            with Image.open(io.BytesIO(each.as_py())) as picture:
                yield np.asarray(picture)
        except OSError as error:
            raise InputError(f"an image cannot be decoded ({error}).") from None


def _stacked(images: Iterator[np.ndarray]) -> np.ndarray:
    first, *rest = images
    for each in rest:
        if each.shape != first.shape:
            raise InputError(
                f"images must have one shape, got {first.shape} and {each.shape}: "
                "resize them first."
            )
    return np.stack([first, *rest])

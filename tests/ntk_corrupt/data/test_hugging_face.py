"""Data sets as Hugging Face's `datasets` saves them: laid out here by pyarrow alone.

The same files as `DatasetDict.save_to_disk` of datasets 5.2 writes, which is asked
itself where it is installed.
"""

import io
import json

import numpy as np
import pytest
from closeness import raises
from PIL import Image

from ntk_corrupt import data
from ntk_corrupt.data import hugging_face, loading

pa = pytest.importorskip("pyarrow", reason="saved data sets are Arrow files")

CLASSES = {"_type": "ClassLabel", "names": ["a", "b", "c"]}
RNG = np.random.default_rng(0)
IMAGES = {"train": RNG.integers(0, 256, (12, 6, 5), np.uint8)}
IMAGES["test"] = RNG.integers(0, 256, (6, 6, 5), np.uint8)
LABELS = {part: np.arange(len(images)) % 3 for part, images in IMAGES.items()}


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    return file.getvalue()


def encoded(images):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": png(i), "path": None} for i in images], kind)


def nested(images, number=None):
    number = number or pa.uint8()
    return pa.array(images.tolist(), pa.list_(pa.list_(number)))


KINDS = {
    "encoded": (encoded, {"_type": "Image"}),
    "array": (nested, {"_type": "Array2D", "shape": [6, 5], "dtype": "uint8"}),
    "lists": (lambda images: nested(images, pa.int64()), {"_type": "List"}),
}


def save(folder, kind, images=IMAGES, labels=LABELS, *, shards=2, **more):
    """What save_to_disk writes."""
    column, feature = KINDS[kind]
    for part in ("train", "test"):
        of = folder / part
        of.mkdir(parents=True)
        names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
        state = {"_data_files": [{"filename": name} for name in names]}
        (of / "state.json").write_text(json.dumps(state))
        features = {"image": feature, "label": CLASSES, **more}
        (of / "dataset_info.json").write_text(json.dumps({"features": features}))
        rows = np.array_split(np.arange(len(labels[part])), shards)
        for name, chosen in zip(names, rows, strict=True):
            columns = {
                "image": column(images[part][chosen]),
                "label": pa.array(labels[part][chosen]),
            }
            new = {extra: pa.array([0] * len(chosen)) for extra in more}
            columns = new | columns
            table = pa.table(columns)
            with pa.ipc.new_stream(str(of / name), table.schema) as sink:
                sink.write_table(table)
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_comes_back(tmp_path, kind):
    save(tmp_path / "any", kind)
    pool = hugging_face.read_saved(tmp_path / "any")
    assert (pool.num_classes, pool.scale) == (3, 255)
    for part in ("train", "test"):
        images, labels = pool.part(part)
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, IMAGES[part])
        np.testing.assert_array_equal(labels, LABELS[part])
    found = data.load_from_disk(str(tmp_path / "any"), normalise="unit")
    expected = data.from_arrays(
        *(IMAGES["train"], LABELS["train"], IMAGES["test"], LABELS["test"]),
        normalise="unit",
    )
    np.testing.assert_array_equal(found.x_train, expected.x_train)
    np.testing.assert_array_equal(found.labels_test, expected.labels_test)


def test_numbers_that_are_no_bytes_stay_as_they_are(tmp_path, monkeypatch):
    floats = lambda images: nested(images / 7, pa.float64())
    monkeypatch.setitem(KINDS, "floats", (floats, {"_type": "List"}))
    save(tmp_path, "floats")
    pool = hugging_face.read_saved(tmp_path)
    np.testing.assert_array_equal(pool.images_test, IMAGES["test"] / 7)
    assert pool.scale == 1


def test_a_saved_set_is_found_by_its_name(tmp_path):
    """Where files of MNIST would lie, and refused where its labels are another's."""
    fashion = [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9, 1, 0, 6, 4]
    labels = dict.fromkeys(LABELS, np.array([*fashion, *range(10)]))
    images = {part: RNG.integers(0, 256, (30, 4, 4), np.uint8) for part in LABELS}
    ten = {"_type": "ClassLabel", "names": list("abcdefghij")}
    save(tmp_path / "mnist", "encoded", images, labels, label=ten)
    with raises("must hold 'mnist', but by its labels it holds 'fashion_mnist'"):
        loading.load("mnist", data_dir=tmp_path)
    (tmp_path / "mnist").rename(tmp_path / "fashion_mnist")
    assert loading.load("fashion_mnist", data_dir=tmp_path).num_classes == 10


def test_what_is_not_as_it_must_be_is_refused(tmp_path):
    read = hugging_face.read_saved
    with raises("must be what DatasetDict.save_to_disk wrote"):
        read(tmp_path)
    folder = tmp_path / "set"
    save(folder, "encoded", other={"_type": "Value", "dtype": "int32"})
    with raises("`label` must name one of the columns image, label, other: 2 of them"):
        read(folder)
    assert read(folder, label="label").num_classes == 3
    with raises("unknown column (`label`) 'lable': did you mean 'label'"):
        read(folder, label="lable")
    with raises(f"unknown split of {folder} 'validation'"):
        read(folder, label="label", splits=("train", "validation"))
    torn = folder / "test" / "data-00001-of-00002.arrow"
    torn.write_bytes(torn.read_bytes()[:200])
    with raises(f"{torn} cannot be read"):
        read(folder, label="label")
    torn.unlink()
    with raises(f"{torn} cannot be read"):
        read(folder, label="label")
    (folder / "train" / "state.json").write_text("{")
    with raises("state.json is damaged"):
        read(folder, label="label")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda column: column[:3] + [{"bytes": b"GIF", "path": None}], "be decoded"),
        (lambda column: column[:3] + [{"bytes": None, "path": "a.png"}], "got paths"),
        (
            lambda column: column[:3] + [{"bytes": png(IMAGES["train"][0, :5])}],
            "must have one shape, got (6, 5) and (5, 5)",
        ),
    ],
)
def test_images_that_cannot_be_stacked_are_refused(tmp_path, monkeypatch, spoil, said):
    def spoilt(images):
        good = encoded(images)
        return pa.array(spoil(good.to_pylist()), good.type)

    monkeypatch.setitem(KINDS, "spoilt", (spoilt, {"_type": "Image"}))
    labels = dict.fromkeys(LABELS, np.arange(4) % 3)
    save(tmp_path, "spoilt", labels=labels, shards=1)
    with raises(said):
        hugging_face.read_saved(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_datasets_writes_the_same(tmp_path, kind):
    datasets = pytest.importorskip("datasets", reason="not a dependency of the project")
    features = datasets.Features(
        {
            "image": {
                "encoded": datasets.Image(),
                "array": datasets.Array2D((6, 5), "uint8"),
                "lists": datasets.List(datasets.List(datasets.Value("int64"))),
            }[kind],
            "label": datasets.ClassLabel(names=CLASSES["names"]),
        }
    )
    images = {
        part: [Image.fromarray(image) for image in of] if kind == "encoded" else of
        for part, of in IMAGES.items()
    }
    shuffled = np.random.default_rng(1).permutation(12)
    split = {
        part: datasets.Dataset.from_dict(
            {"image": images[part], "label": LABELS[part]}, features=features
        )
        for part in IMAGES
    }
    split["train"] = split["train"].select(shuffled)
    saved = datasets.DatasetDict(split)
    saved.save_to_disk(tmp_path / "set", num_shards={"train": 2, "test": 1})
    pool = hugging_face.read_saved(tmp_path / "set")
    np.testing.assert_array_equal(pool.images_train, IMAGES["train"][shuffled])
    np.testing.assert_array_equal(pool.labels_train, LABELS["train"][shuffled])
    np.testing.assert_array_equal(pool.images_test, IMAGES["test"])

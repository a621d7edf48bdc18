"""Damage to files: bytes of any file, arrays of an npz file, values of a JSON line."""

import io
import json
import shutil
import zipfile

import numpy as np


def _middle(rng, size):
    """A range inside a file of `size` bytes."""
    start = int(rng.integers(size)) if size else 0
    return start, min(size, start + int(rng.integers(1, 65)))


def truncated(rng, content):
    return content[: rng.integers(len(content))] if content else content


def flipped(rng, content):
    changed = bytearray(content)
    if changed:
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def zeroed(rng, content):
    start, end = _middle(rng, len(content))
    return content[:start] + bytes(end - start) + content[end:]


def overwritten(rng, content):
    start, end = _middle(rng, len(content))
    return content[:start] + rng.bytes(end - start) + content[end:]


def left_out(rng, content):
    start, end = _middle(rng, len(content))
    return content[:start] + content[end:]


def lengthened(rng, content):
    return content + rng.bytes(int(rng.integers(1, 65)))


def emptied(rng, content):
    return b""


BYTES = (truncated, flipped, zeroed, overwritten, left_out, lengthened, emptied)

# Other arrays in place of one.
OTHER = {
    "zeros": np.zeros_like,
    "text": lambda a: np.full(a.shape, "text"),
    "integers": lambda a: np.ones(a.shape, np.int64),
    "booleans": lambda a: np.ones(a.shape, bool),
    "single": lambda a: a.astype(np.float32),
    "half": lambda a: a.astype(np.float16),
    "complex": lambda a: a.astype(complex),
    "NaN": lambda a: np.full(a.shape, np.nan),
    "infinity": lambda a: np.full(a.shape, np.inf),
    "an axis more": lambda a: a[None],
    "flat": np.ravel,
    "fewer": lambda a: a[:-1],
    "negative": lambda a: -a.astype(float) - 1,
    "one number": lambda a: np.float64(1.0),
    "none": lambda a: a[..., :0],
    "objects": lambda a: np.array([{}, None], object),
}


def rewritten(rng, content):
    """A sound npz file of other arrays, or of other names; other files as they are."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return flipped(rng, content)
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    if not arrays:
        return content
    names = sorted(arrays)
    name, other = (names[i] for i in rng.integers(len(names), size=2))
    how = str(rng.choice([*OTHER, "gone", "renamed", "swapped", "more", "all gone"]))
    if how in OTHER:
        try:
            arrays[name] = OTHER[how](arrays[name])
        except (ValueError, TypeError, IndexError):  # of text, or of one number
            arrays[name] = np.zeros(3)
    elif how == "gone":
        del arrays[name]
    elif how == "renamed":
        arrays[name + "s"] = arrays.pop(name)
    elif how == "swapped":
        arrays[name], arrays[other] = arrays[other], arrays[name]
    elif how == "more":
        arrays["more"] = np.zeros(3)
    else:
        arrays = {}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


VALUES = (None, "text", "0.5", 0, -1, 1e308, [], {}, True, float("nan"), float("inf"))


def edited(rng, content):
    """JSON with another value, or line; other files as they are."""
    try:
        lines = [json.loads(line) for line in content.splitlines()]
        whole = False
    except ValueError:
        try:
            lines, whole = [json.loads(content)], True
        except ValueError:
            return flipped(rng, content)
    if not lines:
        return b"{}\n"
    at = int(rng.integers(len(lines)))
    lines[at : at + 1] = _edited_line(rng, lines, lines[at])
    ends = "" if whole else "\n"
    return "".join(json.dumps(line) + ends for line in lines).encode()


def _edited_line(rng, lines, line):
    value = VALUES[rng.integers(len(VALUES))]
    kinds = ["value", "value", "gone", "renamed", "swapped", "line", "copies"]
    how = str(rng.choice(kinds))
    if not isinstance(line, dict) or not line or how == "line":
        return [value]
    if how == "copies":  # none, one or two of any line
        return [lines[rng.integers(len(lines))]] * int(rng.integers(3))
    names = sorted(line)
    name, other = (names[i] for i in rng.integers(len(names), size=2))
    line = dict(line)
    if how == "value":
        line[name] = value
    elif how == "gone":
        del line[name]
    elif how == "renamed":
        line[name + "s"] = line.pop(name)
    else:
        line[name], line[other] = line[other], line[name]
    return [line]


def damage(rng, paths):
    """Damages one of the files, and says how: a name, and the name of the file."""
    path = paths[rng.integers(len(paths))]
    kinds = [*BYTES, rewritten, rewritten, edited, edited]
    choice = int(rng.integers(len(kinds) + 3))
    if choice < len(kinds):
        how = kinds[choice]
        path.write_bytes(how(rng, path.read_bytes()))
        return how.__name__, path.name
    other = paths[rng.integers(len(paths))]
    if choice == len(kinds):  # the names of two files
        one, two = path.read_bytes(), other.read_bytes()
        path.write_bytes(two)
        other.write_bytes(one)
        return "swapped", f"{path.name}, {other.name}"
    path.unlink()
    if choice == len(kinds) + 1:
        return "removed", path.name
    path.mkdir()
    return "made a folder", path.name


def restored(folder, whole):
    """Puts the undamaged files `whole` back into `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)

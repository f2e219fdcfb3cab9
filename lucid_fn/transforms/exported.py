"""Files of exported functions: their metadata, checksum and structures as JSON."""

import zlib
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.types import Array

Flat: TypeAlias = Callable[[list[Array]], list[Array]]

_FORMAT = 1
_SEAL = b"lucid_fn"  # at the end of a file, before its checksum


class Leaf(NamedTuple):
    """An array among the arguments of an exported function."""

    path: str
    shape: list[int]
    dtype: str
    batched: bool  # whether axis 0 is the batch, of any size


class Description(NamedTuple):
    """What a file holds besides MLX's graph, in types that JSON has."""

    name: str
    parameters: list[str]  # the names of the arguments
    args: Any  # their structure
    leaves: list[Leaf]
    result: Any  # the structure of the result
    batch_sizes: list[int]  # one graph for each, the largest first; or none


def batch_size(arrays: list[Array], description: Description) -> int:
    pairs = zip(arrays, description.leaves, strict=True)
    return next(array.shape[0] for array, leaf in pairs if leaf.batched)


def as_metadata(description: Description) -> str:
    import json  # here, since few programs need it

    return json.dumps({"lucid_fn": _FORMAT, **description._asdict()})


def import_flat(file: Path) -> tuple[Flat, Description]:
    """The function of the leaves, and its description."""
    import json

    imported: Any = mx.import_function(str(file), return_metadata=True)
    run, metadata = imported
    values = json.loads(metadata)
    if values.pop("lucid_fn") != _FORMAT:
        raise ValueError(
            "load_exported: the file was written by a later version of lucid_fn; "
            "update it with pip install --upgrade lucid-fn"
        )
    description = Description(**values)
    leaves = [Leaf(*leaf) for leaf in description.leaves]
    description = description._replace(leaves=leaves)

    def whole(arrays: list[Array]) -> list[Array]:
        return list(run(*arrays))

    def in_parts(arrays: list[Array]) -> list[Array]:
        parts: list[list[Array]] = []
        start, end = 0, batch_size(arrays, description)
        while start < end:
            size = next(n for n in description.batch_sizes if n <= end - start)
            part = [
                array[start : start + size] if leaf.batched else array
                for array, leaf in zip(arrays, leaves, strict=True)
            ]
            parts.append(whole(part))
            start += size
        return [mx.concatenate(list(column)) for column in zip(*parts, strict=True)]

    return in_parts if description.batch_sizes else whole, description


# ---- checksums ----


def write_sealed(path: Path, graph: bytes) -> None:
    """Writes the file that MLX exported, with a checksum, which MLX ignores."""
    from lucid_fn.io import atomic_write

    with atomic_write(path, caller="export") as out:
        out.write(graph + _SEAL + zlib.crc32(graph).to_bytes(4, "little"))


def check_seal(path: Path) -> None:
    """Raises unless the file is complete and intact, which MLX does not check."""
    from lucid_fn.io import reading

    with reading(path, caller="load_exported") as file:
        content = file.read()
    graph, seal, checksum = content[:-12], content[-12:-4], content[-4:]
    if seal != _SEAL:
        raise ValueError(
            f"load_exported: {path} must be a whole file that lf.export wrote; what "
            "mx.export_function wrote is read by mx.import_function"
        )
    if zlib.crc32(graph) != int.from_bytes(checksum, "little"):
        raise ValueError(
            f"load_exported: {path} is damaged, its checksum does not match; copy or "
            "export it again"
        )


# ---- structures ----

_KINDS: dict[str, type] = {
    "dict": dict,
    "OrderedDict": OrderedDict,
    "list": list,
    "tuple": tuple,
    "NoneType": type(None),
}

NamedTuples: TypeAlias = dict[tuple[str, tuple[str, ...]], type]


def to_json(structure: tree.Structure) -> Any:
    """A structure as JSON: 0 for a leaf, else the node's kind, keys and children."""
    kind, keys, children = structure
    if kind is object:
        return 0
    if not all(isinstance(key, str | int) for key in keys):
        raise TypeError(
            "export: the keys of dicts must be strings or integers, got "
            f"{', '.join(map(repr, keys))}"
        )
    return {
        "kind": kind.__name__,
        "is_named_tuple": hasattr(kind, "_fields"),
        "keys": list(keys),
        "children": [to_json(child) for child in children],
    }


def from_json(node: Any, known: NamedTuples) -> tree.Structure:
    """The structure, whose named tuples have known types or new ones."""
    if node == 0:
        return tree.Structure(object, (), ())
    name, keys = node["kind"], tuple(node["keys"])
    kind: type
    if node["is_named_tuple"]:
        kind = known.get((name, keys)) or namedtuple(name, keys)
    else:
        kind = _KINDS[name]
    children = tuple(from_json(child, known) for child in node["children"])
    return tree.Structure(kind, keys, children)


def named_tuples(structure: tree.Structure) -> NamedTuples:
    """The types of the named tuples in a structure, by name and fields."""
    found: NamedTuples = {}
    if hasattr(structure.kind, "_fields"):
        found[structure.kind.__name__, structure.keys] = structure.kind
    for child in structure.children:
        found |= named_tuples(child)
    return found

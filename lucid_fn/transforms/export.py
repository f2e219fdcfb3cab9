"""`export` and `load_exported`: functions over trees in files that plain MLX runs."""

import functools
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_fn import random, tree
from lucid_fn.ops import seam
from lucid_fn.tracing import may_start, started
from lucid_fn.transforms import captures
from lucid_fn.transforms.arguments import check_function, describe, name_of
from lucid_fn.transforms.export_arguments import (
    described,
    matched,
    positional,
    raise_difference,
    resized,
)
from lucid_fn.transforms.export_graph import (
    constants_of,
    flat_function,
    tracing,
    without_rules,
)
from lucid_fn.transforms.exported import (
    Description,
    Flat,
    as_metadata,
    batch_size,
    check_seal,
    from_json,
    import_flat,
    named_tuples,
    to_json,
    write_sealed,
)
from lucid_fn.transforms.untraced import asking_thread
from lucid_fn.types import Array


def export(
    fn: Callable[..., Any],
    path: str | os.PathLike[str],
    *example_args: Any,
    batch_argnums: int | Sequence[int] = (),
) -> None:
    """Writes a function, with all that it captures, to a file that MLX can run.

    The file needs none of the code of `fn`. `load_exported` reads it, and so does
    `mx.import_function`, whose function takes and returns the leaves of the trees in
    the order of `tree.leaves`. The graph consists of MLX's own operations, in the plain
    formulations of `ops`, and of their derivatives, so that a whole training step can
    be exported as well as a model in evaluation mode.

    Args:
        fn: a function of trees of arrays to a tree of arrays. Arrays that it captures,
            such as params, are constants of the file.
        path: the file to write; `.mlxfn` is MLX's suffix.
        example_args: arguments of the shapes and dtypes that the function will take.
            Numbers become arrays, as in `jit`.
        batch_argnums: the positions of arguments whose leaves have the batch on axis 0.
            The exported function takes any number of examples, and must treat them
            independently. The file holds a graph for each power of two up to the
            number of examples given, and `load_exported` divides a batch among these.

    Raises:
        TypeError: if `fn` is not a function, a leaf of an argument or result is not an
            array, or `fn` needs the value of an array or takes a derivative of
            a layer, or of another function with a rule of its own, by `mx.grad`
            instead of `lf.grad`.
        ValueError: if `fn` uses MLX's hidden random state, or an operation that MLX
            cannot write to a file, captures a transposed view of an array, or does not
            treat the examples of a batch independently, or return them on axis 0.
        OSError: if the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> from lucid_fn import models, random
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "lenet.mlxfn"
        >>> model = models.lenet5()
        >>> params, state = model.init(random.key(0))
        >>> def predict(images):
        ...     return model.apply(params, state, images, train=False)[0]
        >>> lf.export(predict, path, mx.zeros((8, 28, 28, 1)), batch_argnums=0)
        >>> lf.load_exported(path)(mx.zeros((5, 28, 28, 1))).shape
        (5, 10)
    """
    import tempfile  # here, since few programs need them

    from lucid_fn.io import check_path

    check_function("export", fn, fix="write export(fn, path, *example_args)")
    name = name_of(fn)
    if not may_start():
        raise ValueError(
            f"export: `{name}` must be exported outside of grad, vmap and jit"
        )
    target = check_path("export", "path", path)
    arrays, description = described(fn, example_args, batch_argnums)
    captured = captures.find(fn, "export")
    mx.eval([capture.kept for capture in captured])
    flat, results = flat_function(fn, tree.flatten(example_args)[1])
    with tracing(name, lambda: flat(arrays)):
        _check_order(constants_of(flat, arrays), captured)
    description = description._replace(result=to_json(results[-1]))

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.mlxfn"
        _write(file, flat, arrays, description)
        if description.batch_sizes and not _takes_batches(file, flat, arrays):
            raise ValueError(
                f"export: `{name}` must treat the examples of a batch independently to "
                "be exported for any number of them; leave batch_argnums out, and "
                "export each size to a file"
            )
        write_sealed(target, file.read_bytes())


def load_exported(path: str | os.PathLike[str]) -> Callable[..., Any]:
    """The function that `export` wrote to a file.

    Args:
        path: the file. MLX runs its contents, so it should come from a source that you
            trust.

    Returns:
        A function of trees of the exported structures, shapes and dtypes. Its results
        have the structure that they had. A named tuple among them has the type of one
        among the arguments with the same name and fields, such as a `TrainState`, or
        else a new type. `jit`, `grad` and `vmap` take the function; its derivatives are
        those of MLX. It runs in the main thread only, to which MLX binds imported
        functions.

    Raises:
        ValueError: if the file was not written by `export`, or is damaged; when called,
            if an argument has another structure, shape or dtype; the message names the
            leaf.
        TypeError: when called, if keyword arguments are not the missing arguments.
        RuntimeError: outside of the main thread; so does the function.
        FileNotFoundError: if there is no such file.

    Example:
        >>> import pathlib, tempfile
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "step.mlxfn"
        >>> params = {"w": mx.array([1.0, 2.0])}
        >>> lf.export(lf.grad(lambda params: mx.sum(params["w"] ** 2)), path, params)
        >>> lf.load_exported(path)(params)
        {'w': array([2, 4], dtype=float32)}
    """
    from lucid_fn.io import check_path

    _check_thread("load_exported must be called")
    file = check_path("load_exported", "path", path)
    check_seal(file)
    run, description = import_flat(file)
    caller = f"`{description.name}` of {file.name}"
    made = named_tuples(from_json(description.result, {}))

    @functools.lru_cache(maxsize=8)
    def structures(given: tree.Structure) -> list[tree.Structure]:
        known = made | named_tuples(given)
        return [from_json(x, known) for x in (description.args, description.result)]

    def exported(*args: Any, **kwargs: Any) -> Any:
        _check_thread(f"{caller} must run")
        if kwargs:
            args = positional(args, kwargs, description.parameters, caller)
        leaves, given = tree.flatten(args)
        wanted, result = structures(given)
        if given != wanted:
            raise_difference(args, wanted, description, caller)
        arrays = matched(leaves, description, caller)
        return started(tree.unflatten(result, run(arrays)))

    exported.__name__ = exported.__qualname__ = description.name
    return exported


def _check_thread(what: str) -> None:
    if asking_thread() is not threading.main_thread():
        raise RuntimeError(
            f"{what} in the main thread, to which MLX binds what load_exported reads, "
            f"got a call in {asking_thread().name!r}; hand the arguments over to the "
            "main thread, through a queue.Queue for example"
        )


def _check_order(constants: list[Array], captured: list[captures.Capture]) -> None:
    """Raises if MLX would write wrong values, since it ignores strides."""
    for array in constants:
        view = memoryview(array)  # type: ignore[arg-type]  # as in MLX's stubs
        if not view.c_contiguous:
            place = captures.address_of(array)
            names = (
                f"`{capture.name}`"
                for capture in captured
                if place in map(captures.address_of, capture.kept)
            )
            raise ValueError(
                f"export: {next(names, 'an array')}, which the function captures, "
                "must lie in memory in the order of its axes, since MLX writes "
                f"others wrongly, got a transposed or broadcast {describe(array)}; "
                "capture mx.contiguous of it instead"
            )


def _write(
    file: Path, flat: Flat, arrays: list[Array], description: Description
) -> None:
    """Writes a graph, or one for each batch size."""
    with (
        tracing(description.name, lambda: flat(arrays)),
        mx.exporter(
            str(file),
            without_rules(flat),
            metadata=as_metadata(description),
        ) as exporter,
    ):
        if not description.batch_sizes:
            exporter(*arrays)
        for size in description.batch_sizes:
            exporter(*resized(arrays, description, size))


def _takes_batches(file: Path, flat: Flat, arrays: list[Array]) -> bool:
    """Whether the function in a file agrees with `flat` on batches of other sizes."""
    run, description = import_flat(file)
    for size in (3, batch_size(arrays, description) + 1):
        given = [
            # Random, since the examples given may be equal, such as zeros.
            random.normal(random.key(i), array.shape).astype(array.dtype)
            if leaf.batched and mx.issubdtype(array.dtype, mx.floating)
            else array
            for i, (array, leaf) in enumerate(
                zip(resized(arrays, description, size), description.leaves, strict=True)
            )
        ]
        with seam.plain():
            expected = flat(given)
        for y in expected:
            if y.ndim == 0 or y.shape[0] != size:
                raise ValueError(
                    f"export: `{description.name}` must return the batch on axis 0 of "
                    "each result, since batch_argnums says that its arguments have it "
                    f"there, got {describe(y)} for {size} examples; leave "
                    "batch_argnums out if it computes one thing of all examples"
                )
        try:
            if not all(map(_is_close, run(given), expected)):
                return False
        except (ValueError, RuntimeError):
            return False
    return True


def _is_close(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(mx.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True).item())

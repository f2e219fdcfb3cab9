"""`unpickle`: data is read, nothing is run, and hostile pickles end soon."""

import argparse
import collections
import copyreg
import datetime
import os
import pickle

import numpy as np
import pytest

from lucid_fn import io

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_back(protocol):
    content = {
        "numbers": [1, -(2**70), 1.5, True, None, 1 + 2j],
        "texts": ("text", b"bytes", b""),
        "sets": [{1, "a"}, frozenset({(1, 2)})],
        ("a", 1): {"nested": [[], {}, ()]},
        "ordered": collections.OrderedDict(b=1, a=2),
    }
    found = io.unpickle(pickle.dumps(content, protocol))
    assert found == content
    assert list(found["ordered"]) == ["b", "a"]


class Config:
    def __init__(self):
        self.lr = 0.1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (Config(), "Config"),
        (collections.Counter("aab"), "collections.Counter"),
        (collections.defaultdict(list, a=[1]), "collections.defaultdict"),
        (collections.deque([1, 2]), "collections.deque"),
        (datetime.date(2020, 1, 2), "datetime.date"),
        (np.float64(0.5), "scalar"),
        (np.dtype("f4"), "numpy.dtype"),
        (range(3), "builtins.range"),
        (list, "builtins.list"),
        (ValueError("text"), "ValueError"),
        (..., "Ellipsis"),
    ],
)
def test_objects_become_placeholders(value, name, protocol):
    found = io.unpickle(pickle.dumps([value, 1], protocol))
    assert isinstance(found[0], io.Opaque) and found[1] == 1
    assert found[0].name.endswith(name)
    assert repr(found[0]) == f"<{found[0].name}, not loaded>"


def test_a_placeholder_keeps_what_was_in_the_object():
    found = io.unpickle(pickle.dumps(argparse.Namespace(lr=0.1, tags={1})))
    assert found.state == {"lr": 0.1, "tags": {1}}
    found = io.unpickle(pickle.dumps(collections.defaultdict(list, a=[1])))
    assert found.items == [("a", [1])] and found.args[0].name == "builtins.list"
    assert io.unpickle(pickle.dumps(list)).args is None


class Runs:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "function", [os.mkdir, os.system, eval, exec, getattr, open, __import__, print]
)
def test_functions_that_run_code_are_refused_by_name(tmp_path, function, protocol):
    target = tmp_path / "made"
    content = pickle.dumps({"a": Runs(function, str(target))}, protocol)
    with pytest.raises(
        ValueError, match=rf"the forbidden global .*{function.__name__}"
    ):
        io.unpickle(content)
    assert not target.exists()


called = []


def record(*args):
    called.append(args)
    return {}


class SetsState:
    def __reduce__(self):
        return record, (1,), {"a": 1}

    def __setstate__(self, state):
        called.append(state)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_function_and_no_class_of_the_process_is_called(protocol):
    content = pickle.dumps([SetsState(), Runs(record, 2)], protocol)
    found = io.unpickle(content)
    assert not called
    assert [value.args for value in found] == [(1,), (2,)]


def test_handlers_make_what_they_stand_for():
    content = pickle.dumps([Runs(record, 1, 2)])
    name = f"{record.__module__}.record"
    assert io.unpickle(content, {name: lambda a, b: a + b}) == [3]


def test_a_registry_of_extensions_is_not_asked():
    copyreg.add_extension(__name__, "record", 200)
    try:
        content = pickle.dumps(record, 2)
        assert pickle.EXT1 in content
        with pytest.raises(ValueError, match="a damaged pickle"):
            io.unpickle(content)
    finally:
        copyreg.remove_extension(__name__, "record", 200)


@pytest.mark.parametrize(
    "content",
    [
        b"(lp0\nI1\nI2\nR.",  # a call of a number
        b"ccollections\nOrderedDict\n)R}b}R.",  # a call of a dict
        b"I1\n}b.",  # a state for a number
        b"I1\nI2\na.",  # an append to a number
        b"]I1\nI2\ns.",  # an item set in a list
        b"}I1\na.",  # an append to a dict
        b"](I1\nI2\n\x90.",  # items added to a list as to a set
        b"cargparse\nNamespace\n}R}R.",  # a call of an instance
    ],
)
def test_opcodes_for_other_objects_are_refused(content):
    with pytest.raises(ValueError, match=r"^(a|items) "):
        io.unpickle(content)


def test_an_opcode_cannot_ask_for_memory():
    for opcode in (pickle.BYTEARRAY8, pickle.BINBYTES8, pickle.BINUNICODE8):
        content = b"\x80\x05" + opcode + (2**40).to_bytes(8, "little") + b"."
        with pytest.raises(ValueError):
            io.unpickle(content)


def nested(depth, first=b"I1\n"):
    """A tuple of two equal tuples of two equal tuples ..., which is small to write."""
    return first + b"2\x86" * depth


@pytest.mark.parametrize("end", [b"I1\ns.", b"I1\nu.", b"\x90."])
def test_keys_whose_hash_would_take_for_ever_are_refused(end):
    start = {b"I1\ns.": b"}", b"I1\nu.": b"}(", b"\x90.": b"\x8f("}[end]
    with pytest.raises(ValueError, match="a key of type tuple"):
        io.unpickle(b"\x80\x04" + start + nested(100) + end)


def test_pairs_of_an_ordered_dict_have_such_keys_only():
    start = b"ccollections\nOrderedDict\n"
    pairs = b"(lp0\n(lp1\nS'a'\naI1\naa"
    assert io.unpickle(start + b"(" + pairs + b"tR.") == {"a": 1}
    hostile = b"](](" + nested(100) + b"I1\nee"
    with pytest.raises(ValueError, match="a key of type tuple"):
        io.unpickle(b"\x80\x04" + start + hostile + b"\x85R.")


def test_a_persistent_reference_needs_a_function():
    content = b"\x80\x02U\x01aQ."
    assert io.unpickle(content, persistent=lambda pid: [pid]) == ["a"]
    with pytest.raises(ValueError, match="a persistent reference"):
        io.unpickle(content)


def test_bytes_of_python_2_are_kept_if_asked():
    assert io.unpickle(b"U\x01\xff.", encoding="bytes") == b"\xff"

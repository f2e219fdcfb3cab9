"""The names that code reads are found in the bytecode of each version of Python."""

import pytest

from lucid_fn.transforms.bytecode import Read, assigned, dotted_reads, names


def of_code(function, source):
    """A function of the code of the function `f` that `source` defines."""
    variables = {}
    exec(source, variables)
    return function(variables["f"].__code__)


def reads(source):
    return set(of_code(dotted_reads, source))


@pytest.mark.parametrize(
    "body",
    [
        "return self.w * x",
        "y = 2 * x; return self.w * y",
        "return [self.w * y for y in x]",
        "return {y: self.w for y in x}",
        "return sum(self.w * y for y in x)",
        "return (lambda y: self.w * y)(x)",
        "for y in x: yield self.w",
        "if x: return self.w",
    ],
)
def test_an_attribute_of_a_parameter_is_found_wherever_it_is_read(body):
    assert Read("self", ("w",), False) in reads(f"def f(self, x):\n    {body}")


def test_a_name_read_in_the_body_of_a_class_is_found():
    found = reads("def f(x):\n    class Local:\n        y = scale.value\n    return x")
    assert Read("scale", ("value",), True) in found


def test_names_that_are_handed_on_together_are_all_found():
    found = reads("def f(self, x):\n    return helper(self, x)")
    assert found >= {Read("self", (), False), Read("x", (), False)}


def test_a_name_that_a_closure_is_made_of_is_not_handed_on():
    found = reads("def f(self, x):\n    return (lambda y: y * self.w)(x)")
    assert Read("self", (), False) not in found


def test_attributes_are_found_in_code_of_hundreds_of_names():
    lines = "\n".join(f"    name{i}.attribute{i}" for i in range(300))
    found = reads(f"def f():\n{lines}")
    assert found == {Read(f"name{i}", (f"attribute{i}",), True) for i in range(300)}


def test_what_code_assigns_to_is_found():
    source = (
        "def f(self, x):\n"
        "    global total\n"
        "    total = self.calls = 1\n"
        "    counts['calls'] += 1\n"
    )
    assert of_code(assigned, source) == {"total", "calls"}


def test_an_attribute_that_is_only_assigned_is_not_read():
    assert of_code(names, "def f(self, x):\n    self.last = x.shape") == {"shape"}

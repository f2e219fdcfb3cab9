"""Profiles name every layer, count what it computes, and change no result."""

import itertools
import json

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import losses, nn, optim, random, train, tree

MODEL = nn.serial(up=nn.linear(4, 8), body=nn.serial(act=nn.relu, down=nn.linear(8, 2)))
X = random.normal(random.key(1), (3, 4))


def loss_of(model=MODEL):
    params, state = model.init(random.key(0))

    def loss(params):
        y, _ = model.apply(params, state, X, train=True)
        return mx.sum(y * y)

    return loss, params


def test_the_innermost_layers_are_rows_with_times_and_counts():
    loss, params = loss_of()
    found = lf.profile(loss, params)
    assert [row.path for row in found.rows] == ["up", "body.act", "body.down"]
    assert [row.flops for row in found.rows] == [2 * 3 * 4 * 8, 0, 2 * 3 * 8 * 2]
    assert found.rows[0].nbytes == 4 * (4 * 8 + 8 + 3 * 8)
    assert all(row.forward > 0 and row.backward > 0 for row in found.rows)
    assert found.seconds > sum(row.forward + row.backward for row in found.rows)


def test_passes_are_nested_and_in_order():
    loss, params = loss_of()
    spans = lf.profile(loss, params, repeats=1).spans
    by = {(span.path, span.phase): span for span in spans}
    assert len(by) == len(spans) == 8
    assert all(span.start <= span.end for span in spans)
    forward = [by[path, "forward"] for path in ("up", "body.act", "body.down")]
    backward = [by[path, "backward"] for path in ("body.down", "body.act", "up")]
    ordered = [*forward, *backward]
    assert all(a.end <= b.start for a, b in itertools.pairwise(ordered))
    body = by["body", "forward"]
    assert body.start <= forward[1].start
    assert forward[2].end <= body.end


def test_without_a_loss_there_is_a_forward_pass_alone():
    params, state = MODEL.init(random.key(0))
    found = lf.profile(lambda p: MODEL.apply(p, state, X, train=False)[0], params)
    assert all(row.backward == 0 for row in found.rows)
    assert "backward" not in {span.phase for span in found.spans}


def test_a_whole_training_step_is_profiled_and_computes_the_same():
    optimizer = optim.adam(0.1)
    ts = train.init(MODEL, optimizer, random.key(0))
    step = train.make_step(MODEL, optimizer, losses.mse)
    targets = mx.zeros((3, 2))
    results = []

    def noted(*args):
        results.append(step(*args))
        return results[-1]

    found = lf.profile(noted, ts, X, targets, repeats=1)
    assert all(row.backward > 0 for row in found.rows)
    new, _ = step(ts, X, targets)
    assert tree.diff(results[-1][0].params, new.params, rtol=1e-5, atol=1e-6) == {}


def test_two_calls_of_one_layer_are_added_up():
    twice = nn.compose(lambda x, same: same(same(x)), same=nn.linear(4, 4))
    loss, params = loss_of(twice)
    (row,) = lf.profile(loss, params).rows
    assert row.flops == 2 * 2 * 3 * 4 * 4


def test_the_table_and_the_trace_hold_every_layer(tmp_path):
    loss, params = loss_of()
    found = lf.profile(loss, params)
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines] == [
        "layer",
        "up",
        "body.act",
        "body.down",
        "other",
        "total",
    ]
    found.to_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {event["name"] for event in events} == {
        "up",
        "body",
        "body.act",
        "body.down",
    }
    assert {event["ph"] for event in events} == {"X"}


def test_a_trace_in_a_missing_folder_is_an_error_of_the_method(tmp_path):
    found = lf.profile(*loss_of(), repeats=1)
    with pytest.raises(
        FileNotFoundError, match=r"^profile\.to_chrome_trace: .*there is no folder"
    ):
        found.to_chrome_trace(tmp_path / "no" / "trace.json")


def test_layers_inside_of_vmap_are_passed_over():
    params, state = MODEL.init(random.key(0))

    def loss(params):
        each = lf.vmap(lambda x: MODEL.apply(params, state, x, train=True)[0])
        return mx.sum(each(X))

    assert all(row.forward == 0 for row in lf.profile(loss, params).rows)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((3,), {}, TypeError, "profile: fn must be a function, got int"),
        ((mx.sum, X), {"repeats": 0}, ValueError, "profile: repeats must"),
    ],
)
def test_what_cannot_be_profiled_is_told(args, options, error, message):
    with pytest.raises(error, match=message):
        lf.profile(*args, **options)


def test_keyword_arguments_are_given_to_the_function():
    loss, params = loss_of()
    found = lf.profile(lambda *, p: loss(p), p=params)
    assert all(row.backward > 0 for row in found.rows)


def test_the_time_of_a_loop_is_in_the_total_alone():
    params, state = MODEL.init(random.key(0))

    def run(x, _):
        return MODEL.apply(params, state, x, train=False)[0] @ mx.ones((2, 4)), None

    found = lf.profile(lambda x: lf.scan(run, x, length=2)[0], X)
    assert [row.path for row in found.rows] == ["up", "body.act", "body.down"]
    assert all(row.forward == 0 for row in found.rows)
    assert found.seconds > 0


def test_two_leaves_may_have_one_path():
    layer = nn.serial(nn.lift(lambda x: mx.sum(x["a.b"] * x["a"]["b"])))
    apply = lambda w: layer.apply({}, {}, {"a.b": w, "a": {"b": w}}, train=False)[0]  # noqa: E731
    assert lf.profile(apply, mx.array(1.0)).rows

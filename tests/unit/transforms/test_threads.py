"""Models, keys, batches and compiled functions of one thread, used in another."""

import threading

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import data, grad, jit, losses, nn, optim, random, train, tree

SIZES = (8, 16, 16, 3)


def in_thread(fn):
    """The result of `fn` in another thread, which has ended."""
    results, errors = [], []

    def run():
        try:
            results.append(fn())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


MODEL = nn.serial(nn.conv2d(3, 4, 3), nn.batch_norm(4), nn.flatten, nn.linear(784, 5))
OPTIMIZER = optim.adam(1e-3)


def step_of(params, state, opt_state, x, y):
    def loss_fn(params):
        logits, new = MODEL.apply(params, state, x, train=True)
        return losses.cross_entropy(logits, y), new

    grads, new = grad(loss_fn, has_aux=True)(params)
    updates, opt_state = OPTIMIZER.update(grads, opt_state, params)
    return optim.apply_updates(params, updates), new, opt_state


def batch(key):
    a, b = random.split(key)
    return random.normal(a, SIZES), random.randint(b, SIZES[:1], high=5)


def test_a_model_made_in_one_thread_trains_in_another_and_is_read_in_the_first():
    params, state = MODEL.init(random.key(0))
    opt_state, (x, y) = OPTIMIZER.init(params), batch(random.key(1))
    step = jit(step_of)
    here = step(params, state, opt_state, x, y)
    there = in_thread(lambda: step(params, state, opt_state, x, y))
    for a, b in zip(tree.leaves(here), tree.leaves(there), strict=True):
        assert mx.allclose(a, b, atol=1e-6)


def test_a_training_state_made_here_is_trained_there_and_evaluated_here():
    ts = train.init(MODEL, OPTIMIZER, random.key(0))
    step = train.make_step(MODEL, OPTIMIZER, losses.cross_entropy)
    x, y = batch(random.key(1))
    ts, metrics = in_thread(lambda: step(ts, x, y))
    ts, again = step(ts, x, y)
    assert ts.step.item() == 2 and again["loss"].item() < metrics["loss"].item()


def test_batches_of_a_data_thread_are_used_here():
    images = np.zeros((10, 4), np.float32)

    def loaded():
        batches = data.batches((images, np.arange(10)), 5, seed=0)
        return [batch for batch in batches]

    double = jit(lambda x: x * 2)
    assert [double(x).shape for x, _ in in_thread(loaded)] == [(5, 4)] * 2


LAYERS = {
    "linear": nn.linear(3, 2),
    "batch_norm": nn.batch_norm(3),
    "gru": nn.gru(3, 2),
    "attention": nn.multi_head_attention(4, 2),
    "cached attention": nn.cached_attention(4, 2, batch_size=1, max_length=5),
    "spectral norm": nn.spectral_norm(nn.linear(3, 2)),
    "weight norm": nn.weight_norm(nn.linear(3, 2)),
    "embedding": nn.embedding(5, 3),
    "by hand": nn.parametric(lambda key: {"w": mx.arange(3.0) / 3}, lambda p, x: x),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("here_first", [True, False])
def test_params_and_states_of_every_layer_can_be_read_elsewhere(name, here_first):
    def make():
        return LAYERS[name].init(random.key(0))

    def total(made):
        leaves = [leaf.astype(mx.float32).sum() for leaf in tree.leaves(made)]
        return sum(leaves, mx.array(0.0)).item()

    if here_first:
        made = make()
        assert in_thread(lambda: total(made)) == total(made)
    else:
        assert total(in_thread(make)) == total(make())


VALUES = {
    "a key": lambda: random.key(3),
    "new keys": lambda: random.split(random.key(3)),
    "a folded key": lambda: random.fold_in(random.key(3), "label"),
    "a draw": lambda: random.normal(random.key(3), (4,)),
    "integers": lambda: random.randint(random.key(3), (4,), high=9),
    "classes": lambda: random.categorical(random.key(3), mx.zeros((4, 5))),
    "zeros": lambda: tree.zeros_like({"a": mx.array([1.0, 2.0])})["a"],
    "a cast tree": lambda: tree.cast({"a": mx.array([1.0, 2.0])}, mx.float16)["a"],
    "a batch of MLX arrays": lambda: next(iter(data.batches(mx.arange(9), 4, seed=0))),
    "normalized images": lambda: data.normalize(mx.zeros((1, 2, 2, 1), mx.uint8), 0, 1),
    "augmented images": lambda: data.random_flip(random.key(0), mx.ones((2, 2, 2, 1))),
    "a result of jit": lambda: jit(lambda x: x @ x)(mx.ones((300, 300))),
}


@pytest.mark.parametrize("name", VALUES)
def test_arrays_that_the_library_returns_can_be_used_in_other_threads(name):
    value = VALUES[name]()
    there = in_thread(lambda: (value + 0).tolist())
    back = in_thread(VALUES[name])
    assert there == value.tolist() == back.tolist()


def test_threads_may_call_one_compiled_function_at_once():
    step = jit(lambda p, x, n: {"w": mx.tanh(p["w"] + x @ p["w"]) * n})
    params, x = {"w": random.normal(random.key(0), (8, 8))}, mx.eye(8) / 2
    expected = params
    for _ in range(30):
        expected = step(expected, x, 0.9)

    def work(done):
        p = params
        for _ in range(30):
            p = step(p, x, 0.9)
        done.append(p["w"].tolist())

    done: list[list[float]] = []
    threads = [threading.Thread(target=work, args=(done,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [expected["w"].tolist()] * 4


def test_a_lazy_array_of_another_thread_is_named():
    lazy = in_thread(lambda: mx.ones(3) + 1)
    message = r"jit: p\.w of `<lambda>` was made in another thread .* call mx.eval on"
    with pytest.raises(RuntimeError, match=message):
        jit(lambda p, x: p["w"] + x)({"w": lazy}, mx.ones(3))
    with pytest.raises(RuntimeError, match="an array was made in another thread"):
        random.normal(in_thread(lambda: random.split(random.key(0))[0]))
    with pytest.raises(RuntimeError, match="`constant`, which `read` reads, was made"):

        def read(x):
            return x + constant

        constant = in_thread(lambda: mx.ones(3) + 1)
        jit(read)(mx.ones(3))


def test_a_draw_inside_a_derivative_does_not_cut_the_graph():
    def loss(w):
        noise = random.uniform(random.key(0), (3,), low=w, high=w + 1)
        return mx.sum(noise) * w

    noise = random.uniform(random.key(0), (3,))
    assert mx.allclose(grad(loss)(2.0), mx.sum(noise) + 4 * 3)
    assert mx.allclose(jit(grad(loss))(2.0), mx.sum(noise) + 4 * 3)
    assert mx.allclose(mx.grad(loss)(mx.array(2.0)), mx.sum(noise) + 4 * 3)


def test_an_exported_function_says_that_it_runs_in_the_main_thread(tmp_path):
    path = tmp_path / "double.mlxfn"
    lf.export(lambda x: 2 * x, path, mx.ones(3))
    double = lf.load_exported(path)
    compiled = lf.jit(double)
    compiled(mx.ones(3))
    slope = grad(lambda x: mx.sum(double(x)))
    for run in (double, compiled, jit(double), lf.vmap(double), slope, jit(slope)):
        with pytest.raises(RuntimeError, match=r"double\.mlxfn must run in the main"):
            in_thread(lambda run=run: run(mx.ones(3)))
    with pytest.raises(RuntimeError, match="load_exported must be called in the main"):
        in_thread(lambda: lf.load_exported(path))


def test_an_exported_function_may_be_in_the_body_of_a_loop(tmp_path):
    path = tmp_path / "double.mlxfn"
    lf.export(lambda x: 2 * x, path, mx.ones(3))
    double = lf.load_exported(path)

    def total(xs):
        return mx.sum(lf.scan(lambda c, x: (c + double(x), None), mx.zeros(3), xs)[0])

    assert jit(grad(total))(mx.ones((2, 3))).tolist() == [[2.0] * 3] * 2

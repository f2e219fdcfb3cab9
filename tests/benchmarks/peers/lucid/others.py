"""What is not the training or the inference of one model."""

import itertools
from collections.abc import Callable

import mlx.core as mx

import lucid_fn as lf
from lucid_fn import data, losses, nn, ops, optim, random, tree
from tests.benchmarks import augmenting, workloads
from tests.benchmarks.workloads import Workload

Run = Callable[[], None]


def decoding(workload: Workload, size: int) -> Run:
    """A token; at the end of the cache it begins anew."""
    sizes = workloads.GPT
    width, places = sizes.width, sizes.context

    def block() -> list[nn.Layer]:
        attention = nn.cached_attention(
            width, sizes.heads, batch_size=size, max_length=places
        )
        inner = (nn.linear(width, 4 * width), nn.gelu, nn.linear(4 * width, width))
        branches = ([attention], inner)
        return [
            nn.residual(nn.serial(nn.layer_norm(width), *branch)) for branch in branches
        ]

    model = nn.serial(
        nn.embedding(sizes.vocabulary, width),
        *[layer for _ in range(sizes.depth) for layer in block()],
        nn.layer_norm(width),
        nn.linear(width, sizes.vocabulary),
    )
    params, begin = model.init(random.key(0))
    mx.eval(params, begin)

    @lf.jit
    def step(params, state, tokens):
        logits, state = model.apply(params, state, tokens, train=False)
        return mx.argmax(logits, axis=-1), state

    tokens, state, place = mx.zeros((size, 1), mx.int32), begin, 0

    def run() -> None:
        nonlocal tokens, state, place
        if place == places - 1:
            state, place = begin, 0
        tokens, state = step(params, state, tokens)
        place += 1
        mx.eval(tokens)

    return run


def dcgan(workload: Workload, size: int) -> Run:
    """A step of the discriminator, then one of the generator."""
    made, judged = [], []
    for i, (channels, width, stride, padding) in enumerate(workloads.GAN_LAYERS):
        options = {"stride": stride, "padding": padding, "bias": False}
        made += [nn.conv_transpose2d(channels, width, 4, **options)]
        made += [nn.batch_norm(width), nn.relu] if i < 3 else [nn.tanh]
    for i, (channels, width, stride, padding) in enumerate(workloads.GAN_CRITIC):
        options = {"stride": stride, "padding": padding, "bias": False}
        judged += [nn.conv2d(channels, width, 4, **options)]
        judged += [nn.batch_norm(width)] if i in (1, 2) else []
        judged += [lambda x: nn.leaky_relu(x, 0.2)] if i < 3 else []
    generator = nn.serial(*made)
    critic = nn.serial(*judged, lambda x: x.reshape(-1))
    optimizer = optim.adam(workloads.GAN_RATE, b1=0.5)

    @lf.jit
    def step(made, judged, real, z):
        fake, _ = generator.apply(made["params"], made["state"], z, train=True)
        fake = lf.stop_gradient(fake)

        def critic_loss(params, state):
            on_real, state = critic.apply(params, state, real, train=True)
            on_fake, state = critic.apply(params, state, fake, train=True)
            loss = mx.mean(nn.softplus(-on_real)) + mx.mean(nn.softplus(on_fake))
            return loss, state

        first, judged = update(critic_loss, judged)

        def generator_loss(params, state):
            fake, state = generator.apply(params, state, z, train=True)
            score, _ = critic.apply(judged["params"], judged["state"], fake, train=True)
            return mx.mean(nn.softplus(-score)), state

        second, made = update(generator_loss, made)
        return made, judged, first + second

    def update(loss_fn, net):
        (loss, state), grads = lf.value_and_grad(loss_fn, has_aux=True)(
            net["params"], net["state"]
        )
        updates, opt = optimizer.update(grads, net["opt"], net["params"])
        params = optim.apply_updates(net["params"], updates)
        return loss, {"params": params, "state": state, "opt": opt}

    def begun(model, label):
        params, state = model.init(random.fold_in(random.key(0), label))
        return {"params": params, "state": state, "opt": optimizer.init(params)}

    made, judged = begun(generator, "generator"), begun(critic, "critic")
    real = mx.array(workloads.noise(size, *workload.shape))
    z = mx.array(workloads.noise(size, 1, 1, workloads.GAN_NOISE))

    def run() -> None:
        nonlocal made, judged
        made, judged, loss = step(made, judged, real, z)
        mx.eval(made, judged, loss)

    return run


def gradients(fn, number: int, *arrays) -> Run:
    """The value of `fn`, and its gradients in the first `number` arguments."""
    step = lf.jit(lf.value_and_grad(fn, argnums=tuple(range(number))))
    arrays = [mx.array(a) for a in arrays]
    return lambda: mx.eval(step(*arrays))


def layer_norm(workload: Workload, size: int) -> Run:
    x, c = (workloads.noise(size, *workload.shape, seed=seed) for seed in (1, 2))

    def fn(x, weight, bias, c):
        return mx.sum(ops.layer_norm(x, weight, bias, eps=1e-5) * c)

    ones = mx.ones(workload.shape)
    return gradients(fn, 3, x, ones, mx.zeros(workload.shape), c)


def softmax(workload: Workload, size: int) -> Run:
    x, c = (workloads.noise(size, *workload.shape, seed=seed) for seed in (1, 2))
    return gradients(lambda x, c: mx.sum(ops.softmax(x) * c), 1, x, c)


def cross_entropy(workload: Workload, size: int) -> Run:
    (classes,) = workload.shape
    x, labels = workloads.batch(workload._replace(classes=classes), size)

    def fn(x, labels):
        return mx.mean(losses.softmax_cross_entropy(x, labels))

    return gradients(fn, 1, x, labels)


def embedding(workload: Workload, size: int) -> Run:
    (width,) = workload.shape
    rows, _ = workloads.batch(workload._replace(shape=()), size)
    table = nn.embedding(workload.vocabulary, width)

    def fn(weight, rows, c):
        return mx.sum(table.apply({"weight": weight}, {}, rows, train=True)[0] * c)

    weight = workloads.noise(workload.vocabulary, width)
    return gradients(fn, 1, weight, rows, workloads.noise(size, width, seed=2))


def dispatch(workload: Workload, size: int) -> Run:
    add = lf.jit(lambda leaves, c: tree.map(lambda x: x + c, leaves))
    leaves = {f"leaf{i}": mx.zeros(workload.shape) for i in range(size)}

    def run() -> None:
        nonlocal leaves
        leaves = add(leaves, 1.0)  # a Python number among the arguments
        mx.eval(leaves)

    return run


def loader(workload: Workload, size: int) -> Run:
    """An epoch."""
    (count,) = workload.shape
    made = data.loader(
        *(augmenting.Images(count), size),
        seed=0,
        transform=augmenting.augment,
        workers=augmenting.WORKERS,
    )
    epochs = itertools.count()

    def run() -> None:
        for x, labels in made.epoch(next(epochs)):
            mx.eval(x, labels)

    return run


def scan_sgd(workload: Workload, size: int) -> Run:
    (steps, features), hidden, classes = workload.shape, 64, workload.classes
    noise = workloads.noise
    params = {"w1": mx.array(noise(features, hidden)) * 0.1, "b1": mx.zeros(hidden)}
    params |= {"w2": mx.array(noise(hidden, classes)) * 0.1, "b2": mx.zeros(classes)}
    xs, ys = mx.array(noise(steps, size, features)), mx.zeros((steps, size, classes))

    def loss(p, x, y):
        hidden = mx.maximum(x @ p["w1"] + p["b1"], 0)
        return mx.mean((hidden @ p["w2"] + p["b2"] - y) ** 2)

    def step(p, batch):
        value, grads = lf.value_and_grad(loss)(p, *batch)
        return {name: p[name] - 0.1 * grads[name] for name in p}, value

    return lambda: mx.eval(lf.scan(step, params, (xs, ys)))


def scan_gru(workload: Workload, size: int) -> Run:
    (steps, features), hidden = workload.shape, 32
    shapes = ((features, 3 * hidden), (hidden, 3 * hidden), (3 * hidden,))
    weights = [mx.array(workloads.noise(*shape)) * 0.1 for shape in shapes]
    xs = mx.array(workloads.noise(steps, size, features))

    def loss(weights, xs):
        w, u, b = weights

        def cell(h, x):
            r, z, n = mx.split(x @ w + b, 3, axis=-1)
            r_h, z_h, n_h = mx.split(h @ u, 3, axis=-1)
            z = ops.sigmoid(z + z_h)
            new = ops.tanh(n + ops.sigmoid(r + r_h) * n_h)
            h = (1 - z) * new + z * h
            return h, h

        return mx.mean(lf.scan(cell, mx.zeros((size, hidden)), xs)[1] ** 2)

    gradient = lf.grad(loss)
    return lambda: mx.eval(gradient(weights, xs))


OTHERS = {
    "decoding": decoding,
    "dcgan": dcgan,
    "layer-norm": layer_norm,
    "softmax": softmax,
    "cross-entropy": cross_entropy,
    "embedding": embedding,
    "dispatch": dispatch,
    "loader": loader,
    "scan-sgd": scan_sgd,
    "scan-gru": scan_gru,
}

"""What each process of `test_sharded_groups.py` does: python sharded_worker.py FILE.

It prints one line of JSON. FILE is the checkpoint of `training`, which goes on from it.
"""

import json
import sys

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn import data, distributed, losses, nn, optim, random, train, tree
from lucid_fn.distributed import Group
from tests.fusion import unfused
from tests.registry.optimizers import OPTIMIZERS, PARTS

SOME = ("adamw", "adafactor", "lamb", "partition with muon", "add_noise", "prodigy")
SHAPES = {
    "conv": {"weight": (3, 2, 1, 2)},
    "fc": {"weight": (130, 129), "bias": (2,), "scale": ()},  # adafactor's is factored
}


def draw(seed, dtypes=(mx.float32, mx.bfloat16)):
    key = random.key(seed)

    def normal(path, shape):
        dtype = dtypes[path == "fc.bias"]
        return random.normal(random.fold_in(key, path), shape).astype(dtype)

    return {
        top: {name: normal(f"{top}.{name}", shape) for name, shape in inner.items()}
        for top, inner in SHAPES.items()
    }


# ---- the optimizer's state ----


def divided_optimizers(group: Group) -> dict:
    """Of some optimizers, whether each is equal to itself when it is divided."""
    return {
        case.name: _is_equal(case.make(), group)
        for case in OPTIMIZERS + PARTS
        if case.name in SOME
    }


def _is_equal(optimizer, group: Group):
    divided = optim.zero_redundancy(optimizer, group)
    params, whole_params = draw(0), draw(0)
    try:
        opt_state, whole = divided.init(params), optimizer.init(params)
    except ValueError as error:
        return str(error)
    for seed in (1, 2):
        updates, opt_state = divided.update(draw(seed), opt_state, params)
        params = optim.apply_updates(params, updates)
        updates, whole = optimizer.update(draw(seed), whole, whole_params)
        whole_params = optim.apply_updates(whole_params, updates)
    gathered = optim.unshard_state(opt_state, group)
    back = optim.shard_state(gathered, like=opt_state)
    return [
        tree.equal(params, whole_params).item(),
        tree.equal(gathered, whole).item(),
        tree.equal(back, opt_state).item(),
    ]


def kept_bytes(group: Group) -> list:
    """The bytes of Adam's state here, and without a group."""
    params, adam = {str(i): mx.zeros(100 + i) for i in range(10)}, optim.adam(0.1)
    divided = optim.zero_redundancy(adam, group)
    return [tree.nbytes(pair.init(params)) for pair in (divided, adam)]


def misused(group: Group) -> dict:
    opt_state = optim.zero_redundancy(optim.param_ema(0.9), group).init(draw(0))
    one = optim.zero_redundancy(optim.adam(0.1), group)
    cases = {
        "save": lambda: train.save("run.safetensors", opt_state),
        "average": lambda: optim.averaged_params(opt_state),
        "group of one": lambda: optim.unshard_state(opt_state, None),
        "an array": lambda: one.init(mx.zeros(3)),
        "other params": lambda: fit(group, random.key(group.rank), epochs=1),
    }
    return {name: _message(case) for name, case in cases.items()}


def _message(case) -> str:
    try:
        case()
    except (TypeError, ValueError) as error:
        return str(error)
    return "no error"


def fit(group: Group, key, *, epochs, divides=True, **options):
    """Training with batches that do not divide evenly: 46 rows in batches of 12."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((46, 6)).astype(np.float32)
    labels = draw.integers(0, 3, 46).astype(np.int32)
    model = nn.serial(nn.linear(6, 8), nn.tanh, nn.linear(8, 3))
    optimizer = optim.chain(optim.clip_by_global_norm(0.5), optim.adamw(1e-2))
    if divides:
        optimizer = optim.zero_redundancy(optimizer, group)
    shard = (group.rank, group.size)
    return train.fit(
        train.init(model, optimizer, key),
        train.make_step(model, optimizer, losses.softmax_cross_entropy, group=group),
        lambda epoch: data.batches((x, labels), 12, seed=(0, epoch), shard=shard),
        epochs=epochs,
        on_epoch=lambda ts, record: tree.leaves(ts.opt_state)[-1].size == 0,
        group=group,
        show=False,
        **options,
    )


def training(group: Group, checkpoint: str | None) -> dict:
    """As many epochs as processes, with the state divided and not."""
    key, epochs = random.key(0), group.size
    if checkpoint is not None:  # ends within an epoch, where the next call continues
        fit(group, key, epochs=epochs, checkpoint=checkpoint, max_steps=2)
    ts, history = fit(group, key, epochs=epochs, checkpoint=checkpoint)
    gathered = optim.unshard_state(ts, group)
    if group.size == 2:  # more ranks go on from the checkpoint
        whole, _ = fit(group, key, epochs=epochs, divides=False)
    return {
        "losses": history.batch_losses,
        "equal": group.size > 2 or tree.equal(gathered, whole).item(),
        "loaded": checkpoint is None
        or tree.equal(train.load(checkpoint, like=ts), ts).item(),
        "params": tree.named_leaves(gathered.params),
        "opt_state": tree.named_leaves(gathered.opt_state),
    }


# ---- tensor parallelism ----


def encoder(group: Group | None) -> nn.Layer:
    options = {"dim_feedforward": 16, "rate": 0.2, "causal": True, "group": group}
    return nn.serial(
        nn.linear(6, 8),
        nn.transformer_encoder_layer(8, 4, norm_first=True, **options),
        nn.transformer_encoder_layer(8, 4, bias=False, rotary_base=100.0, **options),
        nn.layer_norm(8),
    )


def decoder(group: Group | None) -> nn.Layer:
    layer = nn.transformer_decoder_layer(8, 4, dim_feedforward=16, group=group)
    crossed = nn.multi_head_attention(8, 4, kdim=6, vdim=6, group=group)

    def forward(x, layer, crossed, embed):
        y = embed(x)
        y = crossed(nn.AttentionInputs(y, x, x))  # of other widths
        mask = mx.arange(4)[None, :, None, None] != mx.arange(5)  # differs by head
        return layer(nn.DecoderInputs(y, y[:, ::-1], memory_mask=mask))

    return nn.compose(forward, layer=layer, crossed=crossed, embed=nn.linear(6, 8))


def perceptron(group: Group | None) -> nn.Layer:
    return nn.serial(
        nn.column_parallel_linear(6, 16, group=group),
        nn.gelu,
        nn.dropout(0.5, group=group),
        nn.row_parallel_linear(16, 6, group=group, bias=False),
        nn.column_parallel_linear(6, 8, group=group, bias=False),
        nn.row_parallel_linear(8, 2, group=group),
    )


def checkpointed(group: Group | None) -> nn.Layer:
    return nn.serial(
        nn.checkpointed(nn.transformer_encoder_layer(6, 2, rate=0.2, group=group))
    )


MODELS = {
    "checkpointed": checkpointed,
    "encoder": encoder,
    "decoder": decoder,
    "perceptron": perceptron,
}


def parallel_model(name: str, group: Group) -> dict:
    """How far a model that is divided is from the same in one process."""
    whole, parts = MODELS[name](None), MODELS[name](group)
    params, state = whole.init(random.key(1))
    own = nn.shard_params(parts, params)
    x = random.normal(random.key(2), (3, 5, 6))
    ours, expected = (_loss(model, state) for model in (parts, whole))
    found = {
        "init": _distance(parts.init(random.key(1))[0], own),
        "there and back": _distance(nn.unshard_params(parts, own), params),
    }
    for train_mode in (False, True):
        value_and_grad = lf.jit(lf.value_and_grad(ours, (0, 1)))
        value, (grads, dx) = value_and_grad(own, x, train_mode)
        joined = nn.unshard_params(parts, {"grads": grads})["grads"]
        one, (whole_grads, whole_dx) = lf.value_and_grad(expected, (0, 1))(
            params, x, train_mode
        )
        mode = "training" if train_mode else "evaluation"
        found[mode] = _distance((value, joined, dx), (one, whole_grads, whole_dx))
    if group.size == 2:
        found["trained"] = _trained(whole, parts)
    if group.size == 2 and name != "checkpointed":
        found |= _transformed(ours, expected, parts, own, params, x)
    return found


def _loss(model: nn.Layer, state):
    def compute(params, x, train):
        key = random.key(3) if train else None
        y, _ = model.apply(params, state, x, train=train, key=key)
        return mx.mean(y**4)

    return compute


def _transformed(ours, expected, parts, own, params, x) -> dict:
    """Derivatives of the second order, vmap and jvp, not compiled."""

    def slope(loss):
        grads = lf.grad(loss, argnums=1)
        return lf.grad(lambda params, x: mx.sum(grads(params, x, False) ** 2))

    second = nn.unshard_params(parts, slope(ours)(own, x))
    batch = mx.stack([x, 2 * x])
    mapped = lf.vmap(lambda x: ours(own, x, False))(batch)
    each = mx.stack([expected(params, x, False) for x in batch])
    along = (random.normal(random.key(4), x.shape),)
    return {
        "second order": _distance(second, slope(expected)(params, x)),
        "vmap": _distance(mapped, each),
        "jvp": _distance(
            lf.jvp(lambda x: ours(own, x, False), (x,), along)[1],
            lf.jvp(lambda x: expected(params, x, False), (x,), along)[1],
        ),
    }


def _trained(whole: nn.Layer, parts: nn.Layer) -> float:
    """After three steps, the distance of params and momenta.

    Not Adam's: gradients that are zero but for rounding, as of the biases of keys, are
    steps of the learning rate there.
    """
    optimizer, x = optim.sgd(0.1, momentum=0.9), random.normal(random.key(2), (3, 5, 6))
    results = []
    for model in (whole, parts):
        step = train.make_step(model, optimizer, lambda y, _: mx.mean(y**4, (1, 2)))
        ts = train.init(model, optimizer, random.key(1))
        for _ in range(3):
            ts, _ = step(ts, x, x)
        results.append(ts)
    return _distance(nn.unshard_params(parts, results[1]), results[0])


def _distance(got, expected) -> float:
    """The largest difference, divided by the largest number."""
    pairs = zip(tree.leaves(got), tree.leaves(expected), strict=True)
    floats = [(a, b) for a, b in pairs if mx.issubdtype(b.dtype, mx.floating)]
    difference = max(float(mx.abs(a - b).max()) for a, b in floats)
    return difference / max(float(mx.abs(b).max()) for _, b in floats)


def plain(value):
    if isinstance(value, mx.array):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    return [plain(child) for child in value] if isinstance(value, list) else value


def main(checkpoint: str) -> None:
    group = distributed.init()
    models = MODELS if group.size == 2 else ["encoder"]
    found = {
        "rank": group.rank,
        "optimizers": divided_optimizers(group),
        "kept bytes": kept_bytes(group),
        "misused": misused(group) if group.size == 2 else {},
        "training": training(group, checkpoint),
        **{name: parallel_model(name, group) for name in models},
    }
    print("found " + json.dumps(plain(found)))


if __name__ == "__main__":
    with unfused():  # all ranks would compile the same kernels at the same time
        main(*sys.argv[1:])

"""Arguments for a call of every public function that takes a number."""

import inspect

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn import (
    data,
    losses,
    metrics,
    models,
    nn,
    ops,
    optim,
    random,
    schedules,
    train,
)
from lucid_fn.nn import initializers

PACKAGES = [
    nn,
    initializers,
    ops,
    losses,
    metrics,
    optim,
    schedules,
    random,
    data,
    models,
    train,
]

NO_NUMBERS = {
    "set_hyperparameters": "its numbers go by the names of hyperparameters",
    "unflatten": "its sizes have no names",
}
"""Functions whose numbers have no names of their own, and why."""

IMAGES = mx.zeros((2, 8, 8, 4))
LINEAR, WIDE = nn.linear(4, 4), nn.linear(64, 4)
DECODER = models.gpt(4, 8, num_layers=1, num_heads=2, d_model=4, cache=(1, 8))
SCORES, LABELS = mx.ones((2, 4)), mx.array([0, 1])
PARAMS = {"w": mx.ones(2)}
SCHEDULE = schedules.constant(1.0)
SEQUENCES = mx.ones((1, 2, 3, 4))


BY_NAME = {
    # of layers
    "base": 100.0,
    "body": LINEAR,
    "cell": nn.lift(nn.relu),
    "dim_feedforward": 8,
    "dims": 2,
    "embed_dim": 4,
    "factor": 2,
    "fan": initializers.fan_in,
    "fn": nn.relu,
    "forward": lambda x: x,
    "gain": 1.0,
    "group": None,
    "init_params": lambda key: {},
    "features": 4,
    "groups": 2,
    "hidden_size": 3,
    "layer": LINEAR,
    "keys": 5,
    "length": 3,
    "max_length": 8,
    "normalized_shape": 4,
    "num_groups": 2,
    "num_heads": 2,
    "num_layers": 2,
    "padding_idx": 1,
    "rate": 0.1,
    "padding": 1,
    "rotary_base": 100.0,
    "weight_shape": (4, 4),
    "scale": 2.0,
    "times": 2,
    "predicate": lambda path: True,
    "rank": 2,
    "vocab_size": 4,
    **dict.fromkeys(
        ["d_model", "embedding_dim", "in_channels", "in_features", "input_size"], 4
    ),
    **dict.fromkeys(["in1_features", "in2_features", "out_features"], 4),
    **dict.fromkeys(["num_channels", "num_embeddings", "num_features"], 4),
    **dict.fromkeys(["batch_size", "out_channels"], 4),
    **dict.fromkeys(["kernel_size", "output_size", "size", "stride"], 2),
    # of ops
    "bias": mx.zeros(4),
    "carry": (mx.zeros((2, 4)),),
    "eps": 1e-5,
    "images": IMAGES,
    "key": random.key(0),
    "mean": mx.zeros(4),
    "query": SEQUENCES,
    "value": SEQUENCES,
    "var": mx.ones(4),
    "weight": mx.ones(4),
    "weights": ops.RecurrentWeights(mx.ones((4, 4)), mx.ones((4, 4))),
    "x": IMAGES,
    "y": IMAGES,
    # of losses and metrics
    "anchor": SCORES,
    "distances": SCORES,
    "first": SCORES,
    "k": 2,
    "label_lengths": mx.array([1, 1]),
    "labels": LABELS,
    "log_predictions": SCORES,
    "log_probs": SCORES,
    "log_rates": SCORES,
    "logit_lengths": mx.array([3, 3]),
    "logits": SCORES,
    "negative": SCORES,
    "num_classes": 4,
    "positive": SCORES,
    "predictions": SCORES,
    "second": SCORES,
    "targets": SCORES,
    "variance": SCORES,
    # of optimizers
    "b1": 0.9,
    "decay": 0.9,
    "direction": optim.chain(),
    "eta": 0.1,
    "learning_rate": 0.1,
    "loss": lambda params: mx.sum(params["w"] ** 2),
    "matrix": mx.ones((2, 2)),
    "max_norm": 1.0,
    "max_value": 1.0,
    "momentum": 0.9,
    "opt_state": optim.sgd(0.1).init(PARAMS),
    "optimizer": optim.sgd(0.1),
    "params": PARAMS,
    "steps": 2,
    "value_and_grad": lf.value_and_grad(lambda params: mx.sum(params["w"] ** 2)),
    "weight_decay": 0.1,
    # of schedules
    "boundaries": [5],
    "decay_steps": 9,
    "down_steps": 3,
    "first_period": 9,
    "gamma": 0.5,
    "high": 1.0,
    "init_value": 1.0,
    "low": 0.0,
    "lower": 0.1,
    "upper": 0.3,
    "milestones": [2, 4],
    "model_size": 64,
    "peak": 1.0,
    "schedule": SCHEDULE,
    "step_size": 3,
    "steps_per_epoch": 4,
    "total_steps": 60,
    "up_steps": 3,
    "warmup_steps": 9,
    # of random, data and train
    "a": 2.0,
    "alpha": 0.5,
    "arrays": [mx.zeros((8, 2)), mx.ones((8, 2))],
    "axis": 0,
    "b": 2.0,
    "brightness": 0.5,
    "contrast": 0.5,
    "hue": 0.25,
    "saturation": 0.5,
    "iterable": [1, 2],
    "label": 3,
    "lam": 2.0,
    "metric": "loss",
    "num": 2,
    "patience": 2,
    "probability": 0.5,
    "like": PARAMS,
    "path": "run.safetensors",
    "seed": 0,
    "shape": (3, 4),
    "split": "letters",
    "std": 1.0,
    "start_epoch": 0,
    "max_steps": 1,
    "step": lambda ts, x, targets: (
        ts._replace(step=ts.step + 1),
        {"loss": mx.array(0.0)},
    ),
}
"""What a parameter of this name is given, unless the function has its own below."""


def volume(dims):
    return {"x": mx.zeros((2, *[8] * dims, 4))}


BY_FUNCTION = {
    **{
        getattr(ops, f"{kind}_pool{n}d"): volume(n)
        for kind in ("avg", "max")
        for n in (1, 2, 3)
    },
    **{getattr(ops, f"lp_pool{n}d"): {"p": 2.0, **volume(n)} for n in (1, 2, 3)},
    **{
        getattr(ops, f"max_unpool{n}d"): {
            **volume(n),
            "indices": mx.zeros((2, *[8] * n, 4), mx.int32),
            "output_size": 15,
        }
        for n in (1, 2, 3)
    },
    ops.conv2d: {"weight": mx.ones((4, 2, 2, 2)), "groups": 2, "bias": mx.zeros(4)},
    ops.affine_grid: {"theta": mx.ones((1, 2, 3))},
    ops.fold: {"x": mx.ones((1, 1, 16))},
    ops.grid_sample: {"grid": mx.zeros((2, 3, 3, 2))},
    ops.group_norm: {"x": SEQUENCES},
    initializers.constant: {"value": 0.5},
    initializers.normal: {"mean": 0.0},
    initializers.truncated_normal: {"mean": 0.0},
    initializers.uniform: {"high": 0.5},
    nn.dot_product_attention: {"key": SEQUENCES, "scale": 0.5},
    nn.dot_product_attention_weights: {"key": SEQUENCES, "scale": 0.5},
    nn.fold_batch_norm: {
        "conv": {"weight": mx.ones((4, 4))},
        "bn": {},
        "bn_state": {"running_mean": mx.zeros(4), "running_var": mx.ones(4)},
        "groups": 1,
    },
    nn.quantize: {"layer": WIDE, "params": WIDE.init(random.key(0))[0]},
    nn.rotary_positions: {"x": SEQUENCES},
    nn.upsample_cubic: {"size": None},
    nn.upsample_linear: {"size": None},
    nn.upsample_nearest: {"size": None},
    losses.cosine_embedding: {"targets": mx.array([1, -1])},
    losses.cross_entropy: {"ignore_index": -100},
    losses.ctc: {"logits": mx.ones((2, 3, 4)), "labels": mx.ones((2, 1), mx.int32)},
    losses.multi_margin: {"p": 1},
    losses.triplet_margin: {"p": 1.0},
    **{getattr(nn, f"lp_pool{n}d"): {"p": 2.0} for n in (1, 2, 3)},
    metrics.confusion_matrix: {"predictions": LABELS},
    schedules.constant: {"value": 1.0},
    schedules.noam: {"factor": 1.0},
    schedules.scale: {"factor": 0.5},
    optim.set_learning_rate: {"value": 0.1},
    random.choice: {"a": 8, "shape": (3,), "p": None},
    random.dirichlet: {"alpha": mx.ones(3)},
    random.permutation: {"x": 8},
    random.randint: {"low": 0, "high": 5},
    data.loader: {"source": [1, 2, 3], "workers": 0},
    data.color_jitter: {"images": mx.zeros((2, 8, 8, 3))},
    data.random_erasing: {"value": 0.5},
    data.random_resized_crop: {"size": 4},
    data.normalize: {"images": np.zeros((2, 8, 8, 4), np.uint8), "mean": 0.0},
    models.bert: {"d_model": 4, "dim_feedforward": 8, "num_layers": 1, "num_heads": 2},
    models.gpt: {"d_model": 4, "dim_feedforward": 8, "num_layers": 1, "num_heads": 2},
    models.generate: {
        "model": DECODER,
        "params": DECODER.init(random.key(0))[0],
        "state": DECODER.init(random.key(0))[1],
        "prompt": mx.array([[1, 2]]),
        "max_new_tokens": 2,
        "top_k": 2,
        "top_p": 0.5,
        "end_token": 3,
        "key": random.key(0),
    },
    train.make_epoch_step: {
        "model": LINEAR,
        "optimizer": optim.sgd(0.1),
        "loss_fn": losses.mse,
    },
    train.evaluate: {"ts": PARAMS, "batches": []},
    train.fit: {
        "ts": train.init(LINEAR, optim.sgd(0.1), random.key(0)),
        "batches": lambda epoch: [(mx.ones((1, 4)), mx.ones(1))],
        "epochs": 1,
    },
}
"""Arguments of one function, where the names mean something else there."""


ALONE = {
    (function, "size"): {"scale": None}
    for function in (nn.upsample_cubic, nn.upsample_linear, nn.upsample_nearest)
}
"""What else changes where an argument excludes others."""


def functions(package):
    """The names of the public functions of a package."""
    names = getattr(package, "__all__", None) or [
        name
        for name, value in vars(package).items()
        if getattr(value, "__module__", "").startswith("lucid_fn.nn.")
        and name[0] != "_"
    ]
    return [name for name in names if inspect.isfunction(getattr(package, name))]


def values(package, name):
    """The arguments of the example call, by name."""
    function = getattr(package, name)
    own = BY_FUNCTION.get(function, {})
    found = {}
    for p in inspect.signature(function).parameters.values():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        if p.name in own:
            found[p.name] = own[p.name]
        elif p.default is not p.empty and p.default is not None:
            found[p.name] = p.default
        elif p.name in BY_NAME:
            found[p.name] = BY_NAME[p.name]
        elif p.default is p.empty:
            raise LookupError(f"{package.__name__}.{name}: no example of {p.name}")
    return found


def of(package, name, changed):
    function = getattr(package, name)
    given = {**values(package, name), **changed}
    for argument in changed:
        given |= ALONE.get((function, argument), {})
    args, kwargs = [], {}
    for p in inspect.signature(function).parameters.values():
        if p.name not in given:
            continue
        if p.kind == p.KEYWORD_ONLY:
            kwargs[p.name] = given[p.name]
        else:
            args.append(given[p.name])
    return args, kwargs

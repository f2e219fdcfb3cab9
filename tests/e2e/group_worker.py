"""What each process of `test_groups.py` does: python group_worker.py, launched.

It prints one line of JSON. `training` with a group of one is what the tests compare
with.
"""

import json

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn import data, distributed, losses, metrics, nn, optim, random, train, tree
from lucid_fn.distributed import Group
from tests.fusion import unfused


def collectives(group: Group) -> dict:
    rank = group.rank
    x = mx.array([1.0, 2.0]) * (rank + 1)

    def squares(x):  # whose losses the ranks weigh differently
        return (distributed.all_sum(x, group) ** 2).sum() * (rank + 1)

    def cubes(x):
        return (distributed.all_gather(x, group) ** 3).sum() * (rank + 1)

    def sent(x):
        return (distributed.broadcast(x, group, root=1) ** 2).sum()

    both = mx.stack([x, 2 * x])
    first, second = (distributed.all_sum(mx.array(n), group) for n in (1, 10))
    numbers = [y.item() for y in ((first, second) if rank else (second, first))]

    @lf.jit
    def two_sums(x):
        return distributed.all_sum(x, group), distributed.all_sum(10 * x, group)

    summed, tenfold = two_sums(x)
    late, early = lf.grad(squares)(x), lf.grad(squares)(10 * x)
    mx.eval(*((late, early) if rank else (early, late)))
    return {
        "all_sum": distributed.all_sum({"a": x, "b": mx.array(True)}, group),
        "all_mean": distributed.all_mean(x, group),
        "all_gather": distributed.all_gather(x, group),
        "gather scalars": distributed.all_gather(mx.array(rank), group),
        "gather nothing": distributed.all_gather(mx.zeros((0, 2)), group).shape,
        "broadcast": distributed.broadcast(x.astype(mx.bfloat16), group, root=1),
        "grad of all_sum": lf.grad(squares)(x),
        "grad in jit": lf.jit(lf.grad(squares))(x),
        "grads evaluated in another order": [late, early],
        "grad of grad": lf.grad(lambda x: lf.grad(squares)(x).sum())(x),
        "grad of all_gather": lf.grad(cubes)(x),
        "grad of broadcast": lf.grad(sent)(x),
        "jvp": lf.jvp(squares, (x,), (mx.ones(2),))[1],
        "vmap": lf.vmap(lambda x: distributed.all_sum(x, group))(both),
        "vmap of all_gather": lf.vmap(lambda x: distributed.all_gather(x, group))(both),
        "vmap of grad": lf.vmap(lf.grad(squares))(both),
        "grad of vmap": lf.grad(lambda both: lf.vmap(squares)(both).sum())(both),
        "grad of checkpoint": lf.grad(lf.checkpoint(squares))(x),
        "grad of checkpoint in jit": lf.jit(lf.grad(lf.checkpoint(squares)))(x),
        "two sums in jit": [summed, tenfold],
        "two sums in another order": sorted(numbers),
    }


def mismatches(group: Group) -> dict:
    """What the ranks say when they do not do the same."""
    rank = group.rank
    dtype = (mx.float32, mx.float16)[rank]
    order = ((1, 2), (2, 1))[rank]

    def in_order(x):
        return [distributed.all_sum(mx.broadcast_to(x, (n,)), group) for n in order]

    def average(grads):
        optimizer = optim.average_gradients(group)
        return optimizer.update(grads, optimizer.init(grads), grads)

    cases = {
        "shapes": lambda: distributed.all_sum(mx.zeros(2 + rank), group),
        "dtypes in jit": lambda: lf.jit(lambda x: distributed.all_sum(x, group))(
            mx.zeros(2, dtype)
        ),
        "order in jit": lambda: lf.jit(in_order)(mx.array(1.0)),
        "kinds": lambda: (distributed.all_sum, distributed.all_gather)[rank](
            mx.zeros(2), group
        ),
        "in vmap in jit": lambda: lf.jit(
            lf.vmap(lambda x: distributed.all_sum(x, group))
        )(mx.zeros((3, 2 + rank))),
        "names": lambda: average({("weight", "bias")[rank]: mx.zeros(2)}),
    }
    return {name: _message(case) for name, case in cases.items()}


def _message(case) -> str:
    try:
        case()
    except ValueError as error:
        return str(error)
    return "no error"


def model(group: Group | None) -> nn.Layer:
    return nn.serial(
        # A bias before batch norm has a gradient of rounding alone.
        nn.linear(6, 8, bias=False),
        nn.batch_norm(8, group=group),
        nn.tanh,
        nn.linear(8, 3),
    )


def arrays() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((94, 6)).astype(np.float32)
    return x + 3, draw.integers(0, 3, 94).astype(np.int32)


def training(group: Group) -> dict:
    """Two epochs with batches that do not divide evenly: 94 rows in batches of 12."""
    shard = (group.rank, group.size)
    optimizer = optim.chain(optim.clip_by_global_norm(0.5), optim.adam(1e-2))
    loss, accuracy = losses.softmax_cross_entropy, {"accuracy": metrics.accuracy}
    called = []
    ts, history = train.fit(
        train.init(model(group), optimizer, random.key(group.rank)),
        train.make_step(model(group), optimizer, loss, metrics=accuracy, group=group),
        lambda epoch: data.batches(arrays(), 12, seed=(0, epoch), shard=shard),
        epochs=3,
        evaluate=train.make_eval_step(model(group), loss, metrics=accuracy),
        test_batches=data.batches(arrays(), 20, shard=shard),
        on_epoch=lambda ts, record: called.append(1) or len(called) == 2,
        group=group,
    )
    epochs = [
        {name: x for name, x in epoch.items() if "seconds" not in name}
        for epoch in history.epochs
    ]
    return {
        "losses": history.batch_losses,
        "epochs": epochs,
        "called": len(called),
        "params": tree.named_leaves(ts.params),
        "state": tree.named_leaves(ts.state),
    }


def plain(value):
    if isinstance(value, mx.array):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    return [plain(child) for child in value] if isinstance(value, list) else value


def kept(group: Group) -> list:
    """How many of the ranks kept each of 64 values that they drop at random."""
    layer = nn.serial(nn.linear(1, 64, bias=False), nn.dropout(0.5))
    step = train.make_step(layer, optim.sgd(1.0), lambda y, _: y, group=group)
    ts = train.init(layer, optim.sgd(1.0), random.key(0))
    new, _ = step(ts, mx.ones((1, 1)), mx.zeros((1, 64)))
    [before], [after] = tree.leaves(ts.params), tree.leaves(new.params)
    return (mx.round((before - after) * 32 * group.size)).reshape(-1)


def counted(group: Group) -> list:
    """Metrics that are no floats: a count, a bool and a number."""
    layer = nn.linear(1, 1)
    metrics = {
        "count": lambda y, targets: (targets > 0).sum(),
        "any": lambda y, targets: (targets > 1).any(),
        "number": lambda y, targets: 3,
    }
    sgd = optim.sgd(0.1)
    step = train.make_step(layer, sgd, losses.mse, metrics=metrics, group=group)
    ts = train.init(layer, sgd, random.key(0))
    targets = mx.full((1 + group.rank, 1), float(group.rank + 1))
    _, values = step(ts, mx.ones(targets.shape), targets)
    return [values[name] for name in metrics]


def main() -> None:
    group = distributed.init()
    found = {"rank": group.rank, "size": group.size}
    with unfused():  # all ranks would compile the same kernels at the same time
        found |= {
            "collectives": collectives(group) if group.size == 2 else {},
            "mismatches": mismatches(group) if group.size == 2 else {},
            "training": training(group),
        }
    found |= {"kept": kept(group), "counted": counted(group)}  # steps that are fused
    print("found " + json.dumps(plain(found)))


if __name__ == "__main__":
    main()

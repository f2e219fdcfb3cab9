"""Every optimizer, and the parts they are chained of: `make(rate)` and `make()`.

The rate of an optimizer is the peak that falls to 0 in `test_optimizer_laws`, where it
has to converge. A law that one is exempt from is one it does not promise to keep.
"""

from lucid_fn import optim, random
from tests.registry.case import Case

DECAYS = frozenset({"zero gradient"})  # params shrink without a gradient, too
NOISY = frozenset({"zero gradient"})
SHARED_KEY = frozenset({"zero gradient"})


def by_axes(path):
    """Muon takes arrays of two axes or more: the weights."""
    return "matrices" if path.endswith("weight") else "rest"


def muon(rate=0.5):
    matrices = optim.muon(rate, weight_decay=0.0)
    return optim.partition({"matrices": matrices, "rest": optim.adam(rate)}, by_axes)


OPTIMIZERS = [
    Case("sgd", lambda rate=0.5: optim.sgd(rate)),
    Case("sgd with momentum", lambda rate=0.5: optim.sgd(rate, momentum=0.9)),
    Case(
        "sgd with dampening",
        lambda rate=0.5: optim.sgd(rate, momentum=0.9, dampening=0.2),
    ),
    Case(
        "sgd with nesterov",
        lambda rate=0.5: optim.sgd(rate, momentum=0.9, nesterov=True),
    ),
    Case(
        "sgd with decay",
        lambda rate=0.5: optim.sgd(rate, weight_decay=1e-3),
        None,
        DECAYS,
    ),
    Case("adam", lambda rate=0.5: optim.adam(rate)),
    Case("amsgrad", lambda rate=0.5: optim.adam(rate, amsgrad=True)),
    Case("adamw", lambda rate=0.5: optim.adamw(rate, weight_decay=1e-3), None, DECAYS),
    Case("adamax", lambda rate=0.5: optim.adamax(rate)),
    Case("nadam", lambda rate=0.5: optim.nadam(rate)),
    Case("radam", lambda rate=0.5: optim.radam(rate)),
    Case("adabelief", lambda rate=0.3: optim.adabelief(rate)),
    Case("yogi", lambda rate=0.5: optim.yogi(rate)),
    Case("adan", lambda rate=0.3: optim.adan(rate)),
    Case("ademamix", lambda rate=0.3: optim.ademamix(rate)),
    Case(
        "ademamix with warm-up",
        lambda rate=0.3: optim.ademamix(rate, b3=0.99, warmup_steps=100),
    ),
    Case("prodigy", lambda rate=1.0: optim.prodigy(rate, initial_distance=0.01)),
    Case("rmsprop", lambda rate=0.1: optim.rmsprop(rate)),
    Case(
        "centered rmsprop",
        lambda rate=0.1: optim.rmsprop(rate, centered=True, momentum=0.5),
    ),
    Case("adagrad", lambda rate=0.5: optim.adagrad(rate)),
    Case("adagrad with decay", lambda rate=1.0: optim.adagrad(rate, lr_decay=1e-3)),
    Case("adadelta", lambda rate=30.0: optim.adadelta(rate)),
    Case("asgd", lambda rate=0.5: optim.asgd(rate), None, DECAYS),
    Case(
        "scale_by_rprop",  # which rprop follows by no learning rate at all
        lambda rate=1.0: optim.chain(
            optim.scale_by_rprop(0.1), optim.scale_by_learning_rate(rate)
        ),
    ),
    Case("lion", lambda rate=0.3: optim.lion(rate)),
    Case("lamb", lambda rate=0.3: optim.lamb(rate)),
    Case("lars", lambda rate=0.3: optim.lars(rate, trust_coefficient=0.1)),
    Case("novograd", lambda rate=0.1: optim.novograd(rate)),
    Case("adafactor", lambda rate=1.0: optim.adafactor(rate)),
    Case("muon", muon),
    Case("schedule_free_sgd", lambda rate=1.0: optim.schedule_free_sgd(rate)),
    Case("schedule_free_adamw", lambda rate=1.0: optim.schedule_free_adamw(rate)),
    Case("lbfgs", lambda rate=0.5: optim.lbfgs(rate, history_size=4)),
    Case(
        "accumulate",
        lambda rate=1.0: optim.accumulate(optim.adam(rate), steps=2),
    ),
    Case("apply_if_finite", lambda rate=0.5: optim.apply_if_finite(optim.adam(rate))),
    Case("lookahead", lambda rate=1.0: optim.lookahead(optim.adam(rate), period=3)),
    Case(
        "inject",
        lambda rate=0.5: optim.inject(
            optim.adam, rate, b1=0.9, b2=lambda step: 0.99 + 0 * step
        ),
    ),
    Case(
        "partition",
        lambda rate=0.5: optim.partition(
            {"matrices": optim.adam(rate), "rest": optim.sgd(rate)}, by_axes
        ),
    ),
]

PARTS = [
    Case("chain", lambda: optim.chain()),
    Case("trace", lambda: optim.trace(0.9, dampening=0.5)),
    Case("rprop", lambda: optim.rprop(0.1)),
    Case("scale_by_learning_rate", lambda: optim.scale_by_learning_rate(0.1)),
    Case(
        "scale_by_learning_rate with decay",
        lambda: optim.scale_by_learning_rate(0.1, weight_decay=0.1),
        None,
        DECAYS,
    ),
    Case("add_decayed_weights", lambda: optim.add_decayed_weights(0.1), None, DECAYS),
    Case("add_noise", lambda: optim.add_noise(random.key(0), eta=0.1), None, NOISY),
    Case("centralize", lambda: optim.centralize()),
    Case("clip_by_global_norm", lambda: optim.clip_by_global_norm(0.5)),
    Case("clip_by_value", lambda: optim.clip_by_value(0.5)),
    Case("zero_nans", lambda: optim.zero_nans()),
    Case("clip_by_param_norm", lambda: optim.clip_by_param_norm(0.1)),
    Case("clip_by_block_rms", lambda: optim.clip_by_block_rms(0.5)),
    Case("scale_by_param_rms", lambda: optim.scale_by_param_rms()),
    Case("scale_by_trust_ratio", lambda: optim.scale_by_trust_ratio()),
    Case("param_ema", lambda: optim.param_ema(0.9)),
    Case("swa", lambda: optim.swa(start=1, period=2)),
    Case("freeze", lambda: optim.freeze()),
    Case(
        "masked",
        lambda: optim.masked(optim.scale_by_adam(), lambda path: "fc" in path),
    ),
]

"""Every optimizer, and the parts they are chained of: `make(rate)` and `make()`.

The first word of a name is the public function. The rate of an optimizer is the peak
that falls to 0 in `test_optimizer_laws`, where it has to converge. A law that a case is
exempt from is one that it does not promise to keep.
"""

from lucid_fn import optim, random, tree
from tests.registry.case import Case

DECAYS = frozenset({"zero gradient"})  # params shrink without a gradient, too
NOISY = frozenset({"zero gradient"})
MATRICES = frozenset({"leaves.map"})  # whose products use all cores already
ONE_VECTOR = frozenset({"leaves.map"})  # in place of a tree
GROUPS = frozenset({"leaves.map", "one rate"})  # moves leaves, computes nothing
OWN_FUNCTION = frozenset({"leaves.map", "another model"})  # the user's, of whole trees
ALONE = frozenset({"leaves.map"})  # in a group of one it computes nothing
COUNTS_DOWN = frozenset({"saturation"})  # its counter is bounded by an argument

ALPHA = {"alpha": "at least 0 and finite"}
RPROP = {"learning_rate": "positive and finite"}  # its step sizes never become 0

NO_CASES = {
    "apply_updates": "adds updates to params",
    "averaged_params": "reads a state",
    "gradient_norm": "reads a state",
    "hyperparameters": "reads a state",
    "loss_scale": "reads a state",
    "lbfgs_minimize": "a solver, see test_lbfgs_parity",
    "learning_rate": "reads a state",
    "orthogonalize": "a function of a matrix",
    "sam": "wraps value_and_grad",
    "muon": "takes matrices only: inside of partition",
    "scale_by_muon": "takes matrices only: inside of muon",
    "schedule_free_params": "reads a state",
    "set_hyperparameters": "replaces a number in a state",
    "set_learning_rate": "replaces a number in a state",
    "zero_redundancy": "changes nothing without a group, see test_sharded_groups",
    "shard_state": "takes a part of a state",
    "unshard_state": "joins the parts of a state",
}
"""Public functions that make no transformation of any tree, and why."""


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
    Case("adam with amsgrad", lambda rate=0.5: optim.adam(rate, amsgrad=True)),
    Case("adamw", lambda rate=0.5: optim.adamw(rate, weight_decay=1e-3), None, DECAYS),
    Case("adamax", lambda rate=0.5: optim.adamax(rate)),
    Case("nadam", lambda rate=0.5: optim.nadam(rate)),
    Case("radam", lambda rate=0.5: optim.radam(rate)),
    Case("adabelief", lambda rate=0.3: optim.adabelief(rate)),
    Case("yogi", lambda rate=0.5: optim.yogi(rate)),
    Case("adan", lambda rate=0.3: optim.adan(rate)),
    Case("ademamix", lambda rate=0.3: optim.ademamix(rate), ranges=ALPHA),
    Case(
        "ademamix with warm-up",
        lambda rate=0.3: optim.ademamix(rate, b3=0.99, warmup_steps=100),
    ),
    Case("mars", lambda rate=0.3: optim.mars(rate)),
    Case("prodigy", lambda rate=1.0: optim.prodigy(rate, initial_distance=0.01)),
    Case("rmsprop", lambda rate=0.1: optim.rmsprop(rate)),
    Case(
        "rmsprop, centered",
        lambda rate=0.1: optim.rmsprop(rate, centered=True, momentum=0.5),
    ),
    Case("adagrad", lambda rate=0.5: optim.adagrad(rate)),
    Case("adagrad with decay", lambda rate=1.0: optim.adagrad(rate, lr_decay=1e-3)),
    Case("adadelta", lambda rate=30.0: optim.adadelta(rate)),
    Case("asgd", lambda rate=0.5: optim.asgd(rate), None, DECAYS, ALPHA),
    Case(
        "chain of scale_by_rprop and a rate",  # rprop itself has none
        lambda rate=1.0: optim.chain(
            optim.scale_by_rprop(0.1), optim.scale_by_learning_rate(rate)
        ),
    ),
    Case("lion", lambda rate=0.3: optim.lion(rate)),
    Case("lamb", lambda rate=0.3: optim.lamb(rate)),
    Case("lars", lambda rate=0.3: optim.lars(rate, trust_coefficient=0.1)),
    Case("novograd", lambda rate=0.1: optim.novograd(rate)),
    Case("adafactor", lambda rate=1.0: optim.adafactor(rate)),
    Case("partition with muon", muon, None, MATRICES | GROUPS),
    Case(
        "schedule_free_sgd",
        lambda rate=1.0: optim.schedule_free_sgd(rate),
        ranges={"b1": "in (0, 1)"},
    ),
    Case(
        "schedule_free_adamw",
        lambda rate=1.0: optim.schedule_free_adamw(rate),
        ranges={"b1": "in (0, 1)"},
    ),
    Case("lbfgs", lambda rate=0.5: optim.lbfgs(rate, history_size=4), None, ONE_VECTOR),
    Case(
        "accumulate",
        lambda rate=1.0: optim.accumulate(optim.adam(rate), steps=2),
        None,
        COUNTS_DOWN,
    ),
    Case(
        "dynamic_loss_scale",
        lambda rate=0.5: optim.dynamic_loss_scale(optim.adam(rate), init_scale=1.0),
        None,
        COUNTS_DOWN,
    ),
    Case("apply_if_finite", lambda rate=0.5: optim.apply_if_finite(optim.adam(rate))),
    Case(
        "lookahead",
        lambda rate=1.0: optim.lookahead(optim.adam(rate), period=3),
        None,
        COUNTS_DOWN | {"float32 state"},  # its slow params have the params' dtype
        {"alpha": "in [0, 1]"},
    ),
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
        None,
        GROUPS,
    ),
]

PARTS = [
    Case("chain", lambda: optim.chain()),
    Case("trace", lambda: optim.trace(0.9, dampening=0.5)),
    Case("rprop", lambda: optim.rprop(0.1), ranges=RPROP),
    Case("scale_by_learning_rate", lambda: optim.scale_by_learning_rate(0.1)),
    Case(
        "scale_by_learning_rate with decay",
        lambda: optim.scale_by_learning_rate(0.1, weight_decay=0.1),
        None,
        DECAYS,
    ),
    Case("average_gradients", lambda: optim.average_gradients(None), None, ALONE),
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
        None,
        GROUPS,
    ),
    Case("scale_by_adadelta", lambda: optim.scale_by_adadelta()),
    Case("scale_by_adagrad", lambda: optim.scale_by_adagrad(0.1)),
    Case("scale_by_adam", lambda: optim.scale_by_adam()),
    Case("scale_by_adamax", lambda: optim.scale_by_adamax()),
    Case("scale_by_adan", lambda: optim.scale_by_adan()),
    Case(
        "scale_by_ademamix",
        lambda: optim.scale_by_ademamix(warmup_steps=3),
        ranges=ALPHA,
    ),
    Case("scale_by_amsgrad", lambda: optim.scale_by_amsgrad()),
    Case("scale_by_belief", lambda: optim.scale_by_belief()),
    Case("scale_by_factored_rms", lambda: optim.scale_by_factored_rms()),
    Case("scale_by_lars", lambda: optim.scale_by_lars()),
    Case("scale_by_lbfgs", lambda: optim.scale_by_lbfgs(), None, ONE_VECTOR),
    Case("scale_by_lion", lambda: optim.scale_by_lion()),
    Case("scale_by_mars", lambda: optim.scale_by_mars()),
    Case("scale_by_nadam", lambda: optim.scale_by_nadam()),
    Case("scale_by_novograd", lambda: optim.scale_by_novograd()),
    Case("scale_by_radam", lambda: optim.scale_by_radam()),
    Case("scale_by_rms", lambda: optim.scale_by_rms(unbiased=True)),
    Case("scale_by_rprop", lambda: optim.scale_by_rprop(0.1), ranges=RPROP),
    Case("scale_by_stddev", lambda: optim.scale_by_stddev()),
    Case("scale_by_yogi", lambda: optim.scale_by_yogi()),
    Case(
        "schedule_free",
        lambda: optim.schedule_free(optim.scale_by_lion(), 0.1, b1=0.9),
        ranges={"b1": "in (0, 1)"},
    ),
    Case(
        "stateless",
        lambda: optim.stateless(lambda grads, _: tree.map(lambda g: g / 2, grads)),
        None,
        OWN_FUNCTION,
    ),
    Case(
        "stateless_with_tree_map",
        lambda: optim.stateless_with_tree_map(lambda g, _: g / 2),
    ),
]

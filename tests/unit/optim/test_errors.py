"""What each function says to a mistake."""

import collections
import copy

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import optim

PARAMS = {"fc": {"weight": mx.ones((2, 3)), "bias": mx.ones(2)}}
GRADS = {"fc": {"weight": mx.ones((2, 3))}}
STATE = optim.adam(0.1).init(PARAMS)
TWO_RATES = (STATE, STATE)


FromElsewhere = collections.namedtuple("GradientTransformation", ["init", "update"])


def never_finite(params):
    return mx.sum(params["x"]) / 0


VALUES = [
    (
        lambda: optim.muon(0.1, adjust_lr="none"),
        "^muon: adjust_lr must be 'original' or 'match_rms_adamw', got 'none'",
    ),
    (lambda: optim.sgd(mx.ones(2)), r"sgd: learning_rate must have shape \(\)"),
    (
        lambda: optim.sgd(0.1, nesterov=True),
        "sgd: nesterov needs momentum above 0 and dampening 0, got 0.0 and 0.0",
    ),
    (lambda: optim.adam(0.1, amsgrad=True, b1=2), r"adam: b1 must be in \[0, 1\)"),
    (
        lambda: optim.rprop(0.1, min_step_size=1.0, max_step_size=0.5),
        "rprop: max_step_size must be at least min_step_size 1, got 0.5",
    ),
    (lambda: optim.rmsprop(0.1, decay=1, centered=True), "rmsprop: decay must be in"),
    (
        lambda: optim.inject(optim.adam, 0.1, b1=1.5),
        r"adam: b1 must be in \[0, 1\), got 1.5",
    ),
    (
        lambda: optim.sgd(lambda step: mx.ones(2)).init(PARAMS),
        r"a schedule must return a number or an array of shape \(\), got shape \(2,\)",
    ),
    (
        lambda: optim.learning_rate(optim.clip_by_value(1.0).init(PARAMS)),
        "learning_rate: opt_state must hold one LearningRateState or .*, got 0",
    ),
    (
        lambda: optim.learning_rate(TWO_RATES),
        "learning_rate: .*, got 2; give the state of one group",
    ),
    (
        lambda: optim.set_learning_rate(STATE, -1),
        "set_learning_rate: value must be at least 0",
    ),
    (
        lambda: optim.set_learning_rate(STATE, mx.ones(3)),
        r"set_learning_rate: value must have shape \(\), got \(3,\)",
    ),
    (
        lambda: optim.set_learning_rate(optim.sgd(lambda t: 0.1 + t).init(PARAMS), 1),
        "set_learning_rate: the learning rate comes from a schedule",
    ),
    (
        lambda: optim.gradient_norm(STATE),
        "gradient_norm: opt_state must hold one ClipByGlobalNormState, got 0",
    ),
    (
        lambda: optim.averaged_params(STATE),
        "averaged_params: opt_state must hold one ParamEmaState or SwaState, got 0",
    ),
    (
        lambda: optim.schedule_free_params(STATE, PARAMS),
        "schedule_free_params: opt_state must hold one ScheduleFreeState, got 0",
    ),
    (
        lambda: optim.hyperparameters(STATE),
        "hyperparameters: opt_state must hold one InjectState, got 0",
    ),
    (
        lambda: optim.set_hyperparameters(
            optim.inject(optim.adam, 0.1, b1=0.5).init(PARAMS), b2=0.5
        ),
        "set_hyperparameters: b2 must be one of b1; only what was given",
    ),
    (
        lambda: optim.partition({"head": optim.sgd(1)}, lambda p: "tail").init(PARAMS),
        r"partition: label\('fc.bias'\) must be one of head, got 'tail'",
    ),
    (
        lambda: optim.muon(0.1).init(PARAMS),
        r"muon: fc.bias must have two axes or more, got shape \(2,\)",
    ),
    (
        lambda: optim.orthogonalize(mx.ones(3)),
        r"orthogonalize: matrix must have shape \(M, N\), got \(3,\)",
    ),
    (
        lambda: optim.apply_updates({"w": mx.ones(2)}, {"w": mx.ones(1)}),
        r"apply_updates: the update of w must have the shape .* \(2,\), got \(1,\)",
    ),
    (
        lambda: optim.apply_updates(PARAMS, GRADS),
        r"apply_updates: structures differ at fc",
    ),
    (
        lambda: optim.clip_by_value(1.0).update(GRADS, (), PARAMS),
        r"clip_by_value \(grads and params\): structures differ at fc",
    ),
    (
        lambda: optim.scale_by_adam().update(
            GRADS, optim.scale_by_adam().init(PARAMS), PARAMS
        ),
        r"scale_by_adam \(state and grads\): structures differ at fc",
    ),
    (
        lambda: optim.lbfgs_minimize(never_finite, {"x": mx.ones(1)}),
        "lbfgs_minimize: loss must be finite at params, got inf",
    ),
    (
        lambda: optim.lbfgs_minimize(never_finite, PARAMS, max_search=0),
        "lbfgs_minimize: max_search must be at least 1",
    ),
]

TYPES = [
    (
        lambda: optim.adam("fast"),
        r"adam: learning_rate must be a number, an array of shape \(\) or a schedule, "
        "got 'fast'",
    ),
    (lambda: optim.adam(0.1, b1=True), "adam: b1 must be a number or an array"),
    (lambda: optim.muon(0.1, steps=2.0), "muon: steps must be an integer, got 2.0"),
    (
        lambda: optim.rprop(lambda step: 0.1 / (1 + step)),
        r"rprop: learning_rate must be a number or an array of shape \(\), got func",
    ),
    (
        lambda: optim.chain(optim.sgd(0.1), optim.adam),
        "chain: argument 1 must be a GradientTransformation .*, got function; call the",
    ),
    (
        lambda: optim.apply_updates({"w": mx.ones(2)}, {"w": mx.array([1, 2])}),
        "apply_updates: w and its update must be float arrays, got .*float32 and .*int",
    ),
    (
        lambda: optim.adam(0.1).update(PARAMS, {}, PARAMS),
        "adam: opt_state must be the tuple of 3 states that init returned, got dict;",
    ),
    (
        lambda: optim.adam(0.1).update(PARAMS, STATE[:2], PARAMS),
        "adam: .* got a tuple of 2",
    ),
    (
        lambda: optim.masked(optim.adam(0.1), "bias"),
        "masked: predicate must be a function of the dotted path, got str 'bias'",
    ),
    (lambda: optim.masked(0.1, str.isupper), "masked: transformation must be a Grad"),
    (lambda: optim.partition({}, {}), "partition: label must be a function"),
    (
        lambda: optim.partition(str, {"head": optim.sgd(0.1)}),
        r"partition: transformations must be a dict .*, got type; the order is part",
    ),
    (
        lambda: optim.partition({"head": 0.1}, str),
        r"partition: transformations\['head'\] must be a GradientTransformation",
    ),
    (
        lambda: optim.chain([optim.sgd(0.1)]),
        r"chain: argument 0 must be .*, got list; unpack it: chain\(\*transf",
    ),
    (
        lambda: optim.chain(FromElsewhere(init=None, update=None)),
        "chain: argument 0 must be a GradientTransformation of lucid_fn.optim, got the "
        "GradientTransformation of .*; use its counterpart in",
    ),
    (
        lambda: optim.adam(0.1).update(PARAMS, optim.sgd(0.1).init(PARAMS), PARAMS),
        r"adam: opt_state must be the ScaleByAdamState that init returned, got \(\)",
    ),
    (
        lambda: optim.sgd(0.1).update(
            PARAMS, optim.sgd(lambda t: 0.1 / (1 + t)).init(PARAMS), PARAMS
        ),
        "sgd: opt_state must be the LearningRateState that init returned, got Sched",
    ),
    (
        lambda: optim.prodigy().update(
            PARAMS, optim.prodigy(lambda t: 0.1 + t).init(PARAMS), PARAMS
        ),
        "prodigy: opt_state must be the LearningRateState .*, got ScheduledLearning",
    ),
    (
        lambda: optim.partition({"a": optim.sgd(0.1)}, lambda path: "a").update(
            PARAMS,
            optim.partition({"b": optim.sgd(0.1)}, lambda path: "b").init(PARAMS),
            PARAMS,
        ),
        "partition: opt_state must be the state of the groups a that init returned",
    ),
    (lambda: optim.adam(lr=0.1), "^adam: 'lr' is called learning_rate here"),
    (lambda: optim.stateless(0.5), "stateless: fn must be a function, got float"),
    (lambda: optim.accumulate(0.1, steps=2), "accumulate: optimizer must be a Grad"),
    (lambda: optim.apply_if_finite(0.1), "apply_if_finite: optimizer must be a Grad"),
    (lambda: optim.lookahead(0.1), "lookahead: optimizer must be a Gradient"),
    (lambda: optim.schedule_free(0.1, 0.1, b1=0.9), "schedule_free: direction must be"),
    (
        lambda: optim.inject(optim.adam(0.1)),
        "inject: optimizer must be a constructor such as optim.adamw, got Gradient",
    ),
    (lambda: optim.sam(0.1), "sam: value_and_grad must be a function"),
    (
        lambda: optim.add_noise(mx.zeros(3), eta=1).init(PARAMS),
        "key must be a key",
    ),
]


@pytest.mark.parametrize(("mistake", "message"), VALUES)
def test_a_wrong_value_is_a_value_error(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


@pytest.mark.parametrize(("mistake", "message"), TYPES)
def test_a_wrong_kind_is_a_type_error(mistake, message):
    with pytest.raises(TypeError, match=message):
        mistake()


def test_an_unknown_argument_is_told_those_there_are():
    message = r"^adam: 'betas' is called b1 and b2 here; write adam\(.* b1=0.9, b2="
    with pytest.raises(TypeError, match=message):
        optim.adam(0.1, betas=(0.9, 0.999))


def test_the_error_of_a_users_function_is_left_alone():
    def schedule(step):
        raise ValueError("mine: no")

    with pytest.raises(ValueError, match=r"^mine: no$"):
        optim.sgd(schedule).init(PARAMS)


def test_numpy_numbers_are_numbers():
    params, grads = {"w": mx.ones(2)}, {"w": mx.array([1.0, -2.0])}
    exact = optim.adam(0.5, b1=0.5, eps=0.25)
    numpy = optim.adam(np.float32(0.5), b1=np.float64(0.5), eps=np.float32(0.25))
    for optimizer in (exact, numpy):
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        assert isinstance(updates["w"], mx.array)
        assert mx.allclose(updates["w"], mx.array([-0.4, 4 / 9])).item()


@pytest.mark.parametrize("name", ["step", "zero_grad", "param_groups"])
def test_the_methods_of_other_optimizers_are_answered_with_the_pair(name):
    with pytest.raises(
        AttributeError, match=rf"has no '{name}'; write updates, opt_st"
    ):
        getattr(optim.sgd(0.1), name)
    assert copy.deepcopy(optim.sgd(0.1)).init({}) is not None

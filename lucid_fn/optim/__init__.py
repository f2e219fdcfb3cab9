"""Optimizers: pairs of pure functions `init` and `update`, chained from small parts."""

from lucid_fn.call_errors import guide
from lucid_fn.optim.adabelief import ScaleByBeliefState, adabelief, scale_by_belief
from lucid_fn.optim.adadelta import ScaleByAdadeltaState, adadelta, scale_by_adadelta
from lucid_fn.optim.adafactor import (
    ScaleByFactoredRmsState,
    adafactor,
    clip_by_block_rms,
    scale_by_factored_rms,
    scale_by_param_rms,
)
from lucid_fn.optim.adagrad import ScaleByAdagradState, adagrad, scale_by_adagrad
from lucid_fn.optim.adam import (
    ScaleByAdamState,
    ScaleByAmsgradState,
    adam,
    adamw,
    scale_by_adam,
    scale_by_amsgrad,
)
from lucid_fn.optim.adamax import ScaleByAdamaxState, adamax, scale_by_adamax
from lucid_fn.optim.adan import ScaleByAdanState, adan, scale_by_adan
from lucid_fn.optim.ademamix import ScaleByAdemamixState, ademamix, scale_by_ademamix
from lucid_fn.optim.asgd import asgd
from lucid_fn.optim.average_gradients import average_gradients
from lucid_fn.optim.base import (
    GradientTransformation,
    apply_updates,
    chain,
    stateless,
    stateless_with_tree_map,
)
from lucid_fn.optim.clipping import (
    ClipByGlobalNormState,
    clip_by_global_norm,
    clip_by_param_norm,
    clip_by_value,
    gradient_norm,
    zero_nans,
)
from lucid_fn.optim.errors import explains_pair
from lucid_fn.optim.hyperparams import (
    InjectState,
    hyperparameters,
    inject,
    set_hyperparameters,
)
from lucid_fn.optim.lamb import lamb, scale_by_trust_ratio
from lucid_fn.optim.lars import lars, scale_by_lars
from lucid_fn.optim.lbfgs import (
    MinimizeResult,
    ScaleByLbfgsState,
    lbfgs,
    lbfgs_minimize,
    scale_by_lbfgs,
)
from lucid_fn.optim.learning_rate import (
    LearningRateState,
    ScalarOrSchedule,
    ScheduledLearningRateState,
    learning_rate,
    scale_by_learning_rate,
    set_learning_rate,
)
from lucid_fn.optim.lion import ScaleByLionState, lion, scale_by_lion
from lucid_fn.optim.loss_scaling import (
    DynamicLossScaleState,
    dynamic_loss_scale,
    loss_scale,
)
from lucid_fn.optim.mars import ScaleByMarsState, mars, scale_by_mars
from lucid_fn.optim.muon import ScaleByMuonState, muon, orthogonalize, scale_by_muon
from lucid_fn.optim.nadam import ScaleByNadamState, nadam, scale_by_nadam
from lucid_fn.optim.novograd import ScaleByNovogradState, novograd, scale_by_novograd
from lucid_fn.optim.param_averages import (
    ParamEmaState,
    SwaState,
    averaged_params,
    param_ema,
    swa,
)
from lucid_fn.optim.param_groups import (
    MaskedState,
    PartitionState,
    freeze,
    masked,
    partition,
)
from lucid_fn.optim.prodigy import ProdigyState, prodigy
from lucid_fn.optim.radam import ScaleByRadamState, radam, scale_by_radam
from lucid_fn.optim.regularization import (
    AddNoiseState,
    add_decayed_weights,
    add_noise,
    centralize,
)
from lucid_fn.optim.rmsprop import (
    ScaleByRmsState,
    ScaleByStddevState,
    rmsprop,
    scale_by_rms,
    scale_by_stddev,
)
from lucid_fn.optim.rprop import ScaleByRpropState, rprop, scale_by_rprop
from lucid_fn.optim.sam import sam
from lucid_fn.optim.schedule_free import (
    ScheduleFreeState,
    schedule_free,
    schedule_free_adamw,
    schedule_free_params,
    schedule_free_sgd,
)
from lucid_fn.optim.sgd import TraceState, sgd, trace
from lucid_fn.optim.wrappers import (
    AccumulateState,
    ApplyIfFiniteState,
    LookaheadState,
    accumulate,
    apply_if_finite,
    lookahead,
)
from lucid_fn.optim.yogi import ScaleByYogiState, scale_by_yogi, yogi
from lucid_fn.optim.zero_redundancy import (
    ZeroRedundancyState,
    shard_state,
    unshard_state,
    zero_redundancy,
)

__all__ = [
    "AccumulateState",
    "AddNoiseState",
    "ApplyIfFiniteState",
    "ClipByGlobalNormState",
    "DynamicLossScaleState",
    "GradientTransformation",
    "InjectState",
    "LearningRateState",
    "LookaheadState",
    "MaskedState",
    "MinimizeResult",
    "ParamEmaState",
    "PartitionState",
    "ProdigyState",
    "ScalarOrSchedule",
    "ScaleByAdadeltaState",
    "ScaleByAdagradState",
    "ScaleByAdamState",
    "ScaleByAdamaxState",
    "ScaleByAdanState",
    "ScaleByAdemamixState",
    "ScaleByAmsgradState",
    "ScaleByBeliefState",
    "ScaleByFactoredRmsState",
    "ScaleByLbfgsState",
    "ScaleByLionState",
    "ScaleByMarsState",
    "ScaleByMuonState",
    "ScaleByNadamState",
    "ScaleByNovogradState",
    "ScaleByRadamState",
    "ScaleByRmsState",
    "ScaleByRpropState",
    "ScaleByStddevState",
    "ScaleByYogiState",
    "ScheduleFreeState",
    "ScheduledLearningRateState",
    "SwaState",
    "TraceState",
    "ZeroRedundancyState",
    "accumulate",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adan",
    "add_decayed_weights",
    "add_noise",
    "ademamix",
    "apply_if_finite",
    "apply_updates",
    "asgd",
    "average_gradients",
    "averaged_params",
    "centralize",
    "chain",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "clip_by_param_norm",
    "clip_by_value",
    "dynamic_loss_scale",
    "freeze",
    "gradient_norm",
    "hyperparameters",
    "inject",
    "lamb",
    "lars",
    "lbfgs",
    "lbfgs_minimize",
    "learning_rate",
    "lion",
    "lookahead",
    "loss_scale",
    "mars",
    "masked",
    "muon",
    "nadam",
    "novograd",
    "orthogonalize",
    "param_ema",
    "partition",
    "prodigy",
    "radam",
    "rmsprop",
    "rprop",
    "sam",
    "scale_by_adadelta",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_adan",
    "scale_by_ademamix",
    "scale_by_amsgrad",
    "scale_by_belief",
    "scale_by_factored_rms",
    "scale_by_lars",
    "scale_by_lbfgs",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_mars",
    "scale_by_muon",
    "scale_by_nadam",
    "scale_by_novograd",
    "scale_by_param_rms",
    "scale_by_radam",
    "scale_by_rms",
    "scale_by_rprop",
    "scale_by_stddev",
    "scale_by_trust_ratio",
    "scale_by_yogi",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_params",
    "schedule_free_sgd",
    "set_hyperparameters",
    "set_learning_rate",
    "sgd",
    "shard_state",
    "stateless",
    "stateless_with_tree_map",
    "swa",
    "trace",
    "unshard_state",
    "yogi",
    "zero_nans",
    "zero_redundancy",
]

guide(globals(), "optim", on_result=explains_pair)

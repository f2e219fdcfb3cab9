"""Optimizers: stateless `init` / `update` pairs, chained of small ones."""

from lucid_fn.optim.accumulated_squares import (
    ScaleByAdadeltaState as ScaleByAdadeltaState,
    ScaleByAdagradState as ScaleByAdagradState,
    adadelta as adadelta,
    adagrad as adagrad,
    scale_by_adadelta as scale_by_adadelta,
    scale_by_adagrad as scale_by_adagrad,
)
from lucid_fn.optim.adaptive import (
    ScaleByAdamState as ScaleByAdamState,
    ScaleByAmsgradState as ScaleByAmsgradState,
    adam as adam,
    adamw as adamw,
    scale_by_adam as scale_by_adam,
    scale_by_amsgrad as scale_by_amsgrad,
)
from lucid_fn.optim.adaptive_variants import (
    ScaleByAdamaxState as ScaleByAdamaxState,
    ScaleByNadamState as ScaleByNadamState,
    adamax as adamax,
    nadam as nadam,
    scale_by_adamax as scale_by_adamax,
    scale_by_nadam as scale_by_nadam,
)
from lucid_fn.optim.averaging import (
    EmaState as EmaState,
    SwaState as SwaState,
    asgd as asgd,
    averaged_params as averaged_params,
    ema as ema,
    swa as swa,
)
from lucid_fn.optim.base import (
    GradientTransformation as GradientTransformation,
    apply_updates as apply_updates,
    chain as chain,
    stateless as stateless,
)
from lucid_fn.optim.clipping import (
    ClipByGlobalNormState as ClipByGlobalNormState,
    clip_by_global_norm as clip_by_global_norm,
    clip_by_param_norm as clip_by_param_norm,
    clip_by_value as clip_by_value,
    gradient_norm as gradient_norm,
    zero_nans as zero_nans,
)
from lucid_fn.optim.descent import (
    LearningRateState as LearningRateState,
    ScalarOrSchedule as ScalarOrSchedule,
    ScheduledLearningRateState as ScheduledLearningRateState,
    learning_rate as learning_rate,
    scale_by_learning_rate as scale_by_learning_rate,
    set_learning_rate as set_learning_rate,
)
from lucid_fn.optim.differences import (
    ScaleByAdanState as ScaleByAdanState,
    adan as adan,
    scale_by_adan as scale_by_adan,
)
from lucid_fn.optim.factored import (
    ScaleByFactoredRmsState as ScaleByFactoredRmsState,
    adafactor as adafactor,
    clip_by_block_rms as clip_by_block_rms,
    scale_by_factored_rms as scale_by_factored_rms,
    scale_by_param_rms as scale_by_param_rms,
)
from lucid_fn.optim.groups import (
    MaskedState as MaskedState,
    PartitionState as PartitionState,
    freeze as freeze,
    masked as masked,
    partition as partition,
)
from lucid_fn.optim.injection import (
    InjectState as InjectState,
    hyperparameters as hyperparameters,
    inject as inject,
    set_hyperparameters as set_hyperparameters,
)
from lucid_fn.optim.layerwise import (
    lamb as lamb,
    lars as lars,
    scale_by_lars as scale_by_lars,
    scale_by_trust_ratio as scale_by_trust_ratio,
)
from lucid_fn.optim.layerwise_moments import (
    ScaleByNovogradState as ScaleByNovogradState,
    novograd as novograd,
    scale_by_novograd as scale_by_novograd,
)
from lucid_fn.optim.mean_squares import (
    ScaleByRmsState as ScaleByRmsState,
    ScaleByStddevState as ScaleByStddevState,
    rmsprop as rmsprop,
    scale_by_rms as scale_by_rms,
    scale_by_stddev as scale_by_stddev,
)
from lucid_fn.optim.minimization import (
    MinimizeResult as MinimizeResult,
    lbfgs_minimize as lbfgs_minimize,
)
from lucid_fn.optim.momentum import (
    TraceState as TraceState,
    sgd as sgd,
    trace as trace,
)
from lucid_fn.optim.orthogonal import (
    ScaleByMuonState as ScaleByMuonState,
    muon as muon,
    orthogonalize as orthogonalize,
    scale_by_muon as scale_by_muon,
)
from lucid_fn.optim.parameter_free import (
    ProdigyState as ProdigyState,
    prodigy as prodigy,
)
from lucid_fn.optim.quasi_newton import (
    ScaleByLbfgsState as ScaleByLbfgsState,
    lbfgs as lbfgs,
    scale_by_lbfgs as scale_by_lbfgs,
)
from lucid_fn.optim.rectified import (
    ScaleByRadamState as ScaleByRadamState,
    radam as radam,
    scale_by_radam as scale_by_radam,
)
from lucid_fn.optim.regularization import (
    AddNoiseState as AddNoiseState,
    add_decayed_weights as add_decayed_weights,
    add_noise as add_noise,
    centralize as centralize,
)
from lucid_fn.optim.resilient import (
    ScaleByRpropState as ScaleByRpropState,
    rprop as rprop,
    scale_by_rprop as scale_by_rprop,
)
from lucid_fn.optim.scheduleless import (
    ScheduleFreeState as ScheduleFreeState,
    schedule_free as schedule_free,
    schedule_free_adamw as schedule_free_adamw,
    schedule_free_params as schedule_free_params,
    schedule_free_sgd as schedule_free_sgd,
)
from lucid_fn.optim.second_moments import (
    ScaleByBeliefState as ScaleByBeliefState,
    ScaleByYogiState as ScaleByYogiState,
    adabelief as adabelief,
    scale_by_belief as scale_by_belief,
    scale_by_yogi as scale_by_yogi,
    yogi as yogi,
)
from lucid_fn.optim.sharpness import (
    sam as sam,
)
from lucid_fn.optim.sign import (
    ScaleByLionState as ScaleByLionState,
    lion as lion,
    scale_by_lion as scale_by_lion,
)
from lucid_fn.optim.slow_means import (
    ScaleByAdemamixState as ScaleByAdemamixState,
    ademamix as ademamix,
    scale_by_ademamix as scale_by_ademamix,
)
from lucid_fn.optim.wrappers import (
    AccumulateState as AccumulateState,
    ApplyIfFiniteState as ApplyIfFiniteState,
    LookaheadState as LookaheadState,
    accumulate as accumulate,
    apply_if_finite as apply_if_finite,
    lookahead as lookahead,
)

"""The range of every number, in the words of the error about one outside of it.

A range goes by the name of the parameter. Where a function of a registry means
something else by the name, its case says so; other functions are listed here.
"""

import math
import re

from lucid_fn import data, nn, ops, optim, random, schedules, train
from lucid_fn.nn import initializers
from tests.registry.packages import REGISTRIES

NAMES = {
    "above 1 and finite": "base growth_factor rotary_base",
    "an integer of at least 0": "output_padding padding",
    "an integer of at least 1": "dilation kernel_size normalized_shape output_size "
    "size stride",
    "at least 0": "blank cooldown end_token patience seed start start_epoch t0 "
    "warmup_steps workers x",
    "at least 0 and finite": "brightness contrast d_max decay_power eta gain gamma "
    "initial lambd learning_rate lr_decay momentum momentum_decay saturation std "
    "temperature tolerance_change tolerance_grad variance weight_decay",
    "at least 1": "batch_size bits bucket_bytes checkpoint_every d_model decay_steps "
    "depth dim_feedforward dims down_steps embed_dim embedding_dim epochs factor "
    "features first_period group_size groups growth growth_interval hidden_dim "
    "hidden_size history_size image_size in1_features in2_features in_channels "
    "in_features input_size iterations kdim keys length max_iterations max_length "
    "max_new_tokens max_search max_steps mlp_dim model_size num num_channels "
    "num_classes num_embeddings num_features num_groups num_heads num_layers "
    "num_parameters num_token_types out_channels out_features patch_size period rank "
    "step_size steps steps_per_epoch times top_k total_steps up_steps vdim vocab_size",
    "at least 1 and finite": "eta_plus r_max",
    "below 2**31": "axis ignore_index offset padding_idx",
    "finite": "end end_factor high init_value low lower margin mean min_value "
    "negative_slope peak scale start_factor threshold value",
    "finite and at least 0": "lam",
    "in (0, 1)": "backoff_factor",
    "in (0, 1) and more than one of the total_steps": "pct_start",
    "in (0, 1]": "top_p",
    "in (0, 100]": "width",
    "in [0, 0.5]": "hue",
    "in [0, 1)": "attention_rate b1 b2 b3 decay eta_minus rate",
    "in [0, 1]": "dampening label_smoothing probability",
    "in [0, 2**64)": "label",
    "positive and finite": "a alpha b beta clipping delta div_factor eps "
    "final_div_factor init_scale initial_distance k max_norm max_rms max_step_size "
    "max_value min_param_rms min_step_size p power rho smooth trust_coefficient",
}
BY_NAME = {name: range_ for range_, names in NAMES.items() for name in names.split()}

ANY = "any number"  # has none outside
EPS = {"eps": "at least 0 and finite"}
INT32 = "within [-2147483648, {}], the range of the dtype"

BY_FUNCTION = {
    **dict.fromkeys([ops.batch_norm, ops.batch_norm_eval, ops.group_norm], EPS),
    **dict.fromkeys([ops.layer_norm, ops.rms_norm], EPS),
    ops.conv2d: {"groups": "positive and divide the 4 output channels"},
    ops.elu: {"alpha": "finite"},
    ops.hard_tanh: {"low": ANY, "high": ANY},  # but for their order
    ops.normalize: {"p": "positive"},
    ops.pairwise_distance: {"p": "positive", **EPS},
    ops.soft_shrink: {"threshold": "at least 0 and finite"},
    initializers.bias_by_fan_in: {"size": "at least 1"},
    initializers.constant: {"value": ANY},
    initializers.uniform: {"high": "at least 0 and finite"},
    nn.constant_pad: {"value": ANY},
    optim.muon: {"momentum": "in [0, 1)"},
    optim.scale_by_muon: {"momentum": "in [0, 1)"},
    optim.set_learning_rate: {"value": "at least 0 and finite"},
    random.categorical: {"axis": "in [-2, 2)"},
    random.choice: {"a": "below 2**31", "axis": "in [-1, 1)"},
    random.key: {"seed": "in [0, 2**64)"},
    random.permutation: {"axis": "in [-1, 1)"},
    random.randint: {"low": INT32.format(2**31 - 1), "high": INT32.format(2**31)},
    random.truncated_normal: {"low": ANY, "high": ANY},  # but for their order
    random.uniform: {"low": ANY, "high": "finite in float32"},
    data.normalize: {"std": "positive"},
    data.prefetch: {"size": "at least 1"},
    schedules.reduce_on_plateau: {
        "factor": "in (0, 1)",
        "threshold": "at least 0 and finite",
        "eps": "finite",
    },
    train.early_stopping: {"patience": "at least 1"},
}


def of(package, name, parameter):
    """The range of a number of a public function."""
    own = dict(BY_FUNCTION.get(getattr(package, name), {}))
    for case in REGISTRIES[package].cases if package in REGISTRIES else ():
        if case.function == name:
            own |= case.ranges
    return own.get(parameter) or BY_NAME[parameter]


def outside(range_):
    """The values next to a range, by its words."""
    if interval := re.search(r"in ([\[(])(\S+), (\S+?)([\])])", range_):
        first, low, high, last = interval.groups()
        low, high = (eval(end) for end in (low, high))  # such as 2**64
        return [low - (first == "["), high + (last == "]")]
    values = [math.inf, math.nan] * ("finite" in range_) + [0] * ("positive" in range_)
    values += [eval(n) - 1 for n in re.findall(r"at least (\S+)", range_)]
    return values + [eval(n) for n in re.findall(r"(?:above|below) (\S+)", range_)]

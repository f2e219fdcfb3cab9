"""Names of PyTorch, optax, flax and JAX, for errors that say what they are called here.

`names.md`, beside this file, is the table of names, and a page of the documentation.
It is only read when an error is raised.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import NoReturn

_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[(`[^`]+`)\]\([^)]*\)")

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "T_0": ("first_period",),
    "T_max": ("decay_steps",),
    "T_mult": ("growth",),
    "adjust_lr_fn": ("adjust_lr",),
    "alpha": ("decay",),
    "base_channels": ("width",),
    "base_lr": ("low",),
    "callbacks": ("on_epoch",),
    "beta2_decay": ("decay_power",),
    "betas": ("b1", "b2"),
    "block_size": ("max_length",),
    "clip_value": ("max_value",),
    "decay_rate": ("gamma",),
    "decoder_layer": ("layer",),
    "dim": ("axis",),
    "dims": ("axis",),
    "downscale_factor": ("factor",),
    "drop_prob": ("rate",),
    "dropout": ("rate",),
    "dropout_p": ("rate",),
    "dynamic_axes": ("batch_argnums",),
    "dynamic_shapes": ("batch_argnums",),
    "elementwise_affine": ("affine",),
    "embedding_dim": ("features", "embed_dim"),
    "encoder_layer": ("layer",),
    "end_value": ("end",),
    "eos_token_id": ("end_token",),
    "eta_min": ("end",),
    "etas": ("eta_minus", "eta_plus"),
    "every_n_train_steps": ("checkpoint_every",),
    "func": ("fn",),
    "fun": ("fn",),
    "in_dims": ("in_axes",),
    "init": ("init_value",),
    "initial_accumulator_value": ("initial",),
    "input": ("x", "predictions", "logits", "log_predictions", "log_rates"),
    "input1": ("first",),
    "input2": ("second",),
    "input_lengths": ("logit_lengths",),
    "is_causal": ("causal",),
    "is_training": ("train",),
    "keepdim": ("keepdims",),
    "kernel_size": ("size",),
    "labels": ("targets",),
    "lambd": ("threshold",),
    "layer_norm_eps": ("eps",),
    "loader": ("batches",),
    "lora_alpha": ("alpha",),
    "log_probs": ("logits",),
    "log_target": ("log_targets",),
    "lr": ("learning_rate",),
    "max_epochs": ("epochs",),
    "max_iter": ("max_iterations",),
    "max_lr": ("peak", "high"),
    "max_val": ("high",),
    "max_value": ("high",),
    "maxval": ("high",),
    "milestones": ("boundaries",),
    "min_lr": ("min_value",),
    "min_val": ("low",),
    "min_value": ("low",),
    "minval": ("low",),
    "mode": ("higher_is_better",),
    "model": ("layer",),
    "monitor": ("metric",),
    "n_embd": ("d_model",),
    "n_head": ("num_heads",),
    "n_layer": ("num_layers",),
    "n_power_iterations": ("iterations",),
    "need_weights": ("return_weights",),
    "nhead": ("num_heads",),
    "nonlinearity": ("activation",),
    "norm_type": ("p",),
    "ns_coefficients": ("coefficients",),
    "ns_steps": ("steps",),
    "num_groups": ("groups",),
    "num_epochs": ("epochs",),
    "num_workers": ("workers",),
    "opset_version": ("opset",),
    "out_dims": ("out_axes",),
    "p": ("rate",),
    "peak_value": ("peak",),
    "reduce": ("reduction",),
    "r": ("rank",),
    "rho": ("decay",),
    "rng": ("key",),
    "rngs": ("key",),
    "save_freq": ("checkpoint_every",),
    "save_steps": ("checkpoint_every",),
    "scale_factor": ("scale",),
    "shuffle": ("seed",),
    "size_average": ("reduction",),
    "static_argnums": ("static_argnames",),
    "step_size_down": ("down_steps",),
    "step_size_up": ("up_steps",),
    "step_sizes": ("min_step_size", "max_step_size"),
    "target": ("targets", "labels"),
    "target_lengths": ("label_lengths",),
    "targets": ("labels",),
    "total_iters": ("decay_steps", "total_steps"),
    "transition_steps": ("decay_steps", "total_steps"),
    "upscale_factor": ("factor",),
    "use_bias": ("bias",),
    "var": ("variance",),
    "wd": ("weight_decay",),
    "window_shape": ("size",),
}
"""Arguments of other libraries, and what they are called here.

Where there are several names, those that the function takes apply.
"""

_ABSENT = {
    "approximate": "nn.gelu_tanh is the tanh approximation",
    "base_momentum": "optim.inject takes schedules.one_cycle_momentum",
    "batch_first": "sequences are always batch first",
    "collate_fn": "trees of arrays are stacked as they are; transform converts other "
    "items",
    "capturable": "lf.jit compiles the whole step",
    "cycle_momentum": "optim.inject takes schedules.one_cycle_momentum",
    "axis_name": "a batch has no name; reduce over it outside of lf.vmap",
    "axis_size": "the size is that of the mapped arguments",
    "batch_size": "lf.vmap takes a batch, lf.map one entry after another",
    "decoupled_weight_decay": "optim.adamw has decoupled weight decay",
    "deterministic": "train=False is deterministic",
    "do_sample": "temperature=0 takes the most probable tokens",
    "device": "mx.set_default_device chooses it",
    "dtype": "tree.cast casts the params",
    "donate_argnames": "arrays are freed once nothing refers to them",
    "donate_argnums": "arrays are freed once nothing refers to them",
    "foreach": "lf.jit compiles the whole step",
    "fused": "lf.jit compiles the whole step",
    "ignore_index": "metrics.accuracy counts labels outside the classes as wrong: "
    "divide it by ops.mean(labels != ignore_index); losses.cross_entropy leaves them "
    "out",
    "inplace": "nothing is changed in place",
    "last_epoch": "a schedule is a function of the step",
    "line_search_fn": "optim.lbfgs_minimize has a line search",
    "log_input": "the predictions are always logarithms of the rates",
    "map_location": "arrays have no device",
    "mask": "optim.masked and optim.partition choose params by their path",
    "max_length": "max_new_tokens does not count the prompt",
    "max_momentum": "optim.inject takes schedules.one_cycle_momentum",
    "maximize": "negate the loss",
    "mutable": "apply returns the new state",
    "num_workers": "data.loader makes batches in processes, data.prefetch on a thread",
    "params": "an optimizer takes them: init(params), update(grads, opt_state, "
    "params); a train state gets others by ts._replace(params=params, "
    "opt_state=optimizer.init(params))",
    "pin_memory": "memory is unified",
    "policy": "the arguments are stored, and all else is recomputed",
    "prevent_cse": "compiling does not merge the two passes",
    "pretrained": "interop.torch.from_state_dict loads the weights of torchvision",
    "requires_grad": "nn.frozen and optim.freeze keep params as they are",
    "unroll": "the body is compiled once, whatever the number of iterations",
    "training": "the mode is an argument of apply: apply(params, state, x, "
    "train=True, key=key)",
    "weights": "interop.torch.from_state_dict loads the weights of torchvision",
    "weight": 'for a loss, multiply the values of reduction="none" by it',
}
"""Arguments of other libraries that have no counterpart, and what to do instead."""


def raise_unknown(module: str, name: str, public: Sequence[str]) -> NoReturn:
    """Raise the `AttributeError` for a name that a module does not have.

    Args:
        module: what users call it, such as `nn`.
        name: the unknown name.
        public: the module's names.
    """
    hint = None if name.startswith("_") else _hint(name, public)
    if hint is None:
        similar = " or ".join(f"{module}.{ours}" for ours in _similar(name, public))
        hint = f"did you mean {similar}?" if similar else None
    raise AttributeError(
        f"{module} has no attribute {name!r}" + (f"; {hint}" if hint else ""),
        name=name,
    )


def _hint(name: str, public: Iterable[str]) -> str | None:
    """What the name is called here, from the table or the other packages."""
    if hint := _from_table(name) or _from_another_package(name):
        return hint
    # Somebody who knows that names are in lower case writes `step_lr` for `StepLR`.
    ours = _folded(name) in map(_folded, public)
    return None if ours else _from_table(name, _without_loss)


def _from_another_package(name: str) -> str | None:
    """The package that has this name, in a sentence."""
    library = sys.modules[__package__]
    for package in library.__all__:
        module = vars(library).get(package)  # `None` if it is not loaded
        if isinstance(module, ModuleType) and name in getattr(module, "__all__", ()):
            return f"it is {package}.{name} here"
    return None


def _similar(name: str, public: Iterable[str]) -> list[str]:
    """The shortest names that contain `name`, or else the one that is closest to it."""
    folded = {_folded(ours): ours for ours in public}
    wanted = _folded(name)
    longer = [ours for short, ours in folded.items() if wanted in short]
    if longer and len(wanted) > 2:
        return sorted(longer, key=len)[:3]
    close = _close_match(wanted, folded)
    return [folded[close]] if close else []


def _close_match(name: str, known: Iterable[str]) -> str | None:
    import difflib  # only when an error is raised, since importing it takes time

    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.75)), None)


def _folded(name: str) -> str:
    """The form that `Conv2D`, `conv2d` and `conv_2d` have in common."""
    return name.lower().replace("_", "")


def _without_loss(name: str) -> str:
    return _folded(name).removesuffix("loss")


def _from_table(
    name: str, normalize: Callable[[str], str] = lambda name: name
) -> str | None:
    """What the table has for another library's name, in a sentence.

    Args:
        name: the unknown name.
        normalize: two names are the same if they are equal after it.
    """
    from importlib import resources  # only when an error is raised, as above

    wanted = normalize(name)
    text = resources.files("lucid_fn").joinpath("names.md").read_text("utf-8")
    for part in _LINK.sub(r"\1", text).split("\n## ")[1:]:
        library, _, rows = part.partition("\n")
        for row in rows.splitlines():
            if not row.startswith("|"):  # a remark before the table
                continue
            cells = [cell.strip() for cell in row.strip("|").split(" | ")]
            theirs = _CODE.findall(cells[0])
            for index, other in enumerate(theirs):
                short = other.rpartition(".")[2]
                if wanted in (normalize(other), normalize(short)):
                    return _sentence(f"{library}.{other}", index, len(theirs), cells)
    return None


def _sentence(theirs: str, index: int, count: int, cells: list[str]) -> str:
    ours, note = _CODE.findall(cells[1]), cells[2].rstrip(" |").replace("`", "")
    if not ours:
        return f"there is no {theirs} here: {note}"
    ours = [ours[index]] if len(ours) == count else _alike(theirs, ours)
    return f"{theirs} is {' or '.join(ours)} here" + (f" ({note})" if note else "")


def _alike(theirs: str, ours: list[str]) -> list[str]:
    """The names of a row that are spelled like theirs; all of them if none is."""
    wanted = _folded(theirs.rpartition(".")[2])
    return [o for o in ours if _folded(o.rpartition(".")[2]) == wanted] or ours


def unknown_argument(given: str, ours: list[str]) -> str:
    """What an error says about an argument that is not among `ours`."""
    known = [name for name in _ARGUMENTS.get(given, ()) if name in ours]
    if known:
        return f"{given!r} is called {' and '.join(known)} here"
    close = _close_match(given, ours)
    hint = f"did you mean {close}?" if close else _ABSENT.get(given)
    return f"has no argument {given!r}" + (f" ({hint})" if hint else "")

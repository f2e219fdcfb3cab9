"""Weights of Hugging Face's GPT-2 and BERT.

A checkpoint consists of a `config.json` with the sizes of the model and a
`.safetensors` file, which `interop.torch.load_safetensors` reads. `transformers` is not
needed.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx

from lucid_fn import models, nn, random
from lucid_fn.call_errors import guide
from lucid_fn.checks import listed
from lucid_fn.interop.arrays import describe, to_mlx
from lucid_fn.interop.torch import from_state_dict
from lucid_fn.tracing import lazily, started
from lucid_fn.types import Array, ArrayFn, Params, State

_ACTIVATIONS: Mapping[str, ArrayFn] = {
    "gelu": nn.gelu,
    "gelu_new": nn.gelu_tanh,
    "gelu_pytorch_tanh": nn.gelu_tanh,
    "relu": nn.relu,
    "silu": nn.silu,
}

_GPT2_NAMES = (
    (r"^transformer\.", ""),
    (r"\.attn\.c_attn\.", ".attn.in_proj_"),
    (r"\.attn\.c_proj\.", ".attn.out_proj."),
)
_GPT2_IGNORED = re.compile(r"\.attn\.(bias|masked_bias)$")
_CONV1D = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")

_BERT_NAMES = (
    (r"^bert\.", ""),
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
    (r"^embeddings\.LayerNorm\.", "norm."),
    (r"^embeddings\.", ""),
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.output\.dense\.", ".self_attn.out_proj."),
    (r"\.attention\.output\.LayerNorm\.", ".norm1."),
    (r"\.intermediate\.dense\.", ".linear1."),
    (r"\.output\.dense\.", ".linear2."),
    (r"\.output\.LayerNorm\.", ".norm2."),
    (r"^pooler\.dense\.", "pooler."),
)
_BERT_IGNORED = re.compile(r"\.position_ids$")
_QUERY = ".attention.self.query."


def gpt2_from_state_dict(
    state_dict: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    cache: tuple[int, int] | None = None,
) -> tuple[nn.Layer, Params, State]:
    """`models.gpt` with the weights of a `GPT2Model` or `GPT2LMHeadModel`.

    Args:
        state_dict: arrays by Hugging Face's names: NumPy's, MLX's or tensors.
        config: the content of `config.json`, or `model.config.to_dict()`.
        cache: the argument of `models.gpt`, for decoding.

    Returns:
        `(model, params, state)`, in the dtypes of the arrays.

    Raises:
        ValueError: if `models.gpt` does not support the config, or arrays are missing,
            unexpected or of another shape.
        TypeError: if an argument is of the wrong type.

    Example:
        >>> from lucid_fn import interop
        >>> interop.huggingface.gpt2_from_state_dict({}, {"n_embd": 8})
        Traceback (most recent call last):
        ValueError: gpt2_from_state_dict: config must hold 'vocab_size', got n_embd
    """
    caller = "gpt2_from_state_dict"
    _check_mappings(caller, state_dict, config)
    for name, needed in (
        ("scale_attn_weights", True),
        ("scale_attn_by_inverse_layer_idx", False),
        ("add_cross_attention", False),
    ):
        if config.get(name, needed) != needed:
            raise ValueError(
                f"{caller}: config[{name!r}] must be {needed}, got {config[name]}"
            )
    tied = config.get("tie_word_embeddings", True)
    options: dict[str, Any] = {
        "vocab_size": _required(caller, config, "vocab_size"),
        "max_length": _required(caller, config, "n_positions"),
        "num_layers": _required(caller, config, "n_layer"),
        "num_heads": _required(caller, config, "n_head"),
        "d_model": _required(caller, config, "n_embd"),
        "dim_feedforward": config.get("n_inner"),
        "rate": _dropout(caller, config, "resid_pdrop", "embd_pdrop", "attn_pdrop"),
        "activation": _activation(caller, config, "activation_function", "gelu_new"),
        "eps": config.get("layer_norm_epsilon", 1e-5),
        "tied": tied,
    }
    model = models.gpt(**options)
    arrays: dict[str, Array] = {}
    for name, value in state_dict.items():
        if _GPT2_IGNORED.search(name) or (tied and name == "lm_head.weight"):
            continue
        array = to_mlx(caller, name, value)
        # Their Conv1D is a linear layer with a transposed weight.
        array = array.T if _CONV1D.search(name) else array
        arrays[_renamed(name, _GPT2_NAMES)] = array
    params, state = _load_weights(caller, model, arrays)
    if cache is not None:
        model = models.gpt(**options, cache=cache)
        with lazily():  # the params are not used, so not computed
            _, state = model.init(random.key(0))
    return model, params, started(state)


def bert_from_state_dict(
    state_dict: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[nn.Layer, Params, State]:
    """`models.bert` with the weights of a `BertModel`, or of a model that contains one.

    If some names begin with `bert.`, all others belong to the head and are ignored.

    Args:
        state_dict: arrays by Hugging Face's names: NumPy's, MLX's or tensors.
        config: the content of `config.json`, or `model.config.to_dict()`.

    Returns:
        `(model, params, state)`, in the dtypes of the arrays; the model has a pooler if
        the weights have one.

    Raises:
        ValueError: if `models.bert` does not support the config, or arrays are missing,
            unexpected or of another shape.
        TypeError: if an argument is of the wrong type.

    Example:
        >>> from lucid_fn import interop
        >>> interop.huggingface.bert_from_state_dict({}, {"hidden_size": 8})
        Traceback (most recent call last):
        ValueError: bert_from_state_dict: config must hold 'vocab_size', got hidden_size
    """
    caller = "bert_from_state_dict"
    _check_mappings(caller, state_dict, config)
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute" or config.get("is_decoder", False):
        raise ValueError(
            f"{caller}: config must be of an encoder with absolute positions, got "
            f"{positions!r} and is_decoder={config.get('is_decoder', False)}"
        )
    arrays: dict[str, Array] = {}
    has_head = any(name.startswith("bert.") for name in state_dict)
    for name, value in state_dict.items():
        is_head = has_head and not name.startswith("bert.")
        if is_head or _BERT_IGNORED.search(name):
            continue
        if any(part in name for part in (".self.key.", ".self.value.")):
            continue  # joined with the query below
        if _QUERY in name:
            parts = (
                name.replace(".query.", f".{part}.")
                for part in ("query", "key", "value")
            )
            path = name.replace(_QUERY, ".self_attn.in_proj_")
            arrays[_renamed(path, _BERT_NAMES)] = mx.concatenate(
                [
                    to_mlx(caller, p, _required(caller, state_dict, p, "state_dict"))
                    for p in parts
                ]
            )
        else:
            arrays[_renamed(name, _BERT_NAMES)] = to_mlx(caller, name, value)
    model = models.bert(
        _required(caller, config, "vocab_size"),
        _required(caller, config, "max_position_embeddings"),
        num_layers=_required(caller, config, "num_hidden_layers"),
        num_heads=_required(caller, config, "num_attention_heads"),
        d_model=_required(caller, config, "hidden_size"),
        dim_feedforward=_required(caller, config, "intermediate_size"),
        num_token_types=config.get("type_vocab_size", 2),
        rate=_dropout(
            caller, config, "hidden_dropout_prob", "attention_probs_dropout_prob"
        ),
        activation=_activation(caller, config, "hidden_act", "gelu"),
        eps=config.get("layer_norm_eps", 1e-12),
        pooler="pooler.weight" in arrays,
    )
    return model, *_load_weights(caller, model, arrays)


def _renamed(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in names:
        name = re.sub(pattern, ours, name)
    return name


def _load_weights(
    caller: str, model: nn.Layer, arrays: Mapping[str, Array]
) -> tuple[Params, State]:
    """`from_state_dict`, with errors that name `caller`."""
    try:
        return from_state_dict(model, arrays, flattened={})
    except (TypeError, ValueError) as error:
        message = str(error).removeprefix("from_state_dict: ")
        fix = "is the config that of these weights?"  # replaces other advice
        message = re.sub(
            r"^(the arrays do not fit the model)[^\n]*", rf"\1; {fix}", message
        )
        raise type(error)(f"{caller}: {message}") from None


def _check_mappings(caller: str, state_dict: Any, config: Any) -> None:
    for name, value, fix in (
        ("state_dict", state_dict, "for a model write model.state_dict()"),
        ("config", config, "for a model write model.config.to_dict()"),
    ):
        if not isinstance(value, Mapping):
            raise TypeError(
                f"{caller}: {name} must be a mapping, got {describe(value)}; {fix}"
            )


def _required(
    caller: str, values: Mapping[str, Any], name: str, what: str = "config"
) -> Any:
    if name not in values:
        raise ValueError(f"{caller}: {what} must hold {name!r}, got {listed(values)}")
    return values[name]


def _dropout(caller: str, config: Mapping[str, Any], *names: str) -> float:
    """The dropout rate, which is the same everywhere in the models here."""
    rates = {name: config.get(name, 0.1) for name in names}
    if len(set(rates.values())) > 1:
        raise ValueError(
            f"{caller}: config must have a single dropout rate, got {rates}; set all "
            "to one value, which only training uses"
        )
    return float(rates[names[0]])


def _activation(
    caller: str, config: Mapping[str, Any], name: str, default: str
) -> Callable[..., Any]:
    found = config.get(name, default)
    if found not in _ACTIVATIONS:
        raise ValueError(
            f"{caller}: config[{name!r}] must be one of {', '.join(_ACTIVATIONS)}, got "
            f"{found!r}"
        )
    return _ACTIVATIONS[found]


__all__ = ["bert_from_state_dict", "gpt2_from_state_dict"]

guide(globals(), "interop.huggingface")

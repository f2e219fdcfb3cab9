"""Text generation by a language model with a KV cache."""

from typing import Any

import mlx.core as mx

from lucid_fn import nn, random, transforms, tree
from lucid_fn.checks import check_count, check_integer, check_key, check_number
from lucid_fn.models.sampling import next_tokens
from lucid_fn.nn.core.layer import check_dict, check_layer, to_input
from lucid_fn.tracing import postponing, start, started
from lucid_fn.types import Array, Key, Params, State

_CALLER = "generate"


def generate(
    model: nn.Layer,
    params: Params,
    state: State,
    prompt: Array,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    end_token: int | None = None,
    key: Key | None = None,
) -> tuple[Array, State]:
    """Continues prompts, token by token, with a model that has a KV cache.

    Each token is drawn from `softmax(logits / temperature)`, and is the next input. One
    compiled function reads the prompt, and another one generates each token; they are
    compiled once for all calls with the same model and shapes.

    Args:
        model: from the next tokens `(N, L)` to logits `(N, L, V)`, with a cache as its
            state, such as `models.gpt(..., cache=(N, max_length))`.
        params: params of the model, or of the same model without a cache.
        state: for a new text, the state that the model's `init` returns. A state that
            `generate` returned continues its text: begin the prompt with the last token
            of that text, which the model has not seen.
        prompt: integers, shape `(N, P)`, at least one token for each of `N` texts.
        max_new_tokens: number of tokens to append, at least 1; the cache must have room
            for `P + max_new_tokens - 1`.
        temperature: at least 0; values below 1 sharpen the distribution, and 0 always
            takes the most probable token.
        top_k: draw only from the `top_k` most probable tokens.
        top_p: draw only from the smallest set of tokens whose probabilities sum to at
            least `top_p` (nucleus sampling), in (0, 1]; after `top_k`, if both are
            given.
        end_token: token that ends a text. The rest of the text is filled with it, and
            generation stops once all texts have ended.
        key: a key, required for a temperature above 0.

    Returns:
        `(tokens, state)`: int32 `(N, P + max_new_tokens)`, the prompt and its
        continuation, and the new state with the cache. A token is -1 where the logits
        are NaN.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the prompt is empty or does not fit the cache, the model has no
            cache, a number is out of range, or there is no key.

    Source: top-k: Fan et al., 2018, https://arxiv.org/abs/1805.04833, section 5.1;
    top-p: Holtzman et al., 2020, https://arxiv.org/abs/1904.09751, section 3.1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import models, random
        >>> sizes = {"num_layers": 1, "num_heads": 2, "d_model": 8}
        >>> decoder = models.gpt(50, 16, **sizes, cache=(1, 16))
        >>> params, state = decoder.init(random.key(0))
        >>> tokens, _ = models.generate(
        ...     decoder,
        ...     params,
        ...     state,
        ...     mx.array([[1, 2, 3]]),
        ...     max_new_tokens=5,
        ...     top_k=10,
        ...     key=random.key(1),
        ... )
        >>> tokens.shape
        (1, 8)
    """
    check_layer(_CALLER, model)
    max_new_tokens = check_count(_CALLER, "max_new_tokens", max_new_tokens)
    temperature = check_number(_CALLER, "temperature", temperature, at_least=0)
    if top_k is not None:
        top_k = check_count(_CALLER, "top_k", top_k)
    if top_p is not None:
        top_p = check_number(_CALLER, "top_p", top_p, above=0, at_most=1)
    if end_token is not None:
        end_token = check_count(_CALLER, "end_token", end_token, at_least=0)
    prompt = _check_prompt(prompt)
    _check_cache(state, prompt.shape, max_new_tokens)
    options: dict[str, Any] = {
        "top_k": top_k,
        "top_p": _as_array(top_p),
        "end": _as_array(end_token),
    }
    if temperature > 0:
        options |= {"temperature": mx.array(temperature), "key": _require_key(key)}

    if prompt.shape[1] > 1:
        state = _prefill(model.apply, params, state, prompt[:, :-1])
    token, ended = prompt[:, -1:], mx.zeros(len(prompt), mx.bool_)
    tokens = [prompt]
    for i in range(max_new_tokens):
        # Evaluated below, when nothing refers to the old state any more, so that the
        # cache is updated in place.
        with postponing():
            token, ended, state = _decode_step(
                model.apply, params, state, token, ended, mx.array(i), **options
            )
        tokens.append(token)
        if start(token, ended, state):
            mx.eval(token, ended, state)
            if end_token is not None and mx.all(ended):
                break
    missing = max_new_tokens + 1 - len(tokens)
    if missing and end_token is not None:
        tokens.append(mx.full((len(prompt), missing), end_token, mx.int32))
    return started(mx.concatenate(tokens, axis=1)), state


@transforms.jit(static_argnames="apply")
def _prefill(apply: nn.ApplyFn, params: Params, state: State, tokens: Array) -> State:
    """The state after these tokens; their logits are not computed."""
    return apply(params, state, tokens, train=False)[1]


@transforms.jit(static_argnames=("apply", "top_k"))
def _decode_step(
    apply: nn.ApplyFn,
    params: Params,
    state: State,
    token: Array,
    ended: Array,
    index: Array,
    *,
    top_k: int | None,
    top_p: Array | None,
    end: Array | None,
    temperature: Array | None = None,
    key: Key | None = None,
) -> tuple[Array, Array, State]:
    """The next token `(N, 1)`, whether each text has ended, and the new state."""
    logits, state = apply(params, state, token, train=False)  # (N, 1, V)
    subkey = None if key is None else random.fold_in(key, index)
    new = next_tokens(logits[:, -1], subkey, temperature, top_k, top_p)
    if end is not None:
        new = mx.where(ended, end, new)
        ended = new == end
    return new[:, None], ended, state


def _check_prompt(prompt: Any) -> Array:
    prompt = to_input(prompt)
    check_integer(_CALLER, prompt=prompt)
    if prompt.ndim != 2 or prompt.shape[1] == 0:
        hint = "; one text needs a batch axis: prompt[None]" if prompt.ndim == 1 else ""
        raise ValueError(
            f"{_CALLER}: prompt must have shape (N, P) with at least one token, got "
            f"{prompt.shape}{hint}"
        )
    tokens: Array = prompt.astype(mx.int32)
    return tokens


def _check_cache(state: State, shape: tuple[int, ...], new: int) -> None:
    """Raises unless the caches in the state have room for the prompts and `new` tokens.

    The used length of a cache is a value, which is checked if it can be read.
    """
    check_dict(state, "state", _CALLER)
    leaves = tree.named_leaves(state)
    lengths = [x for path, x in leaves.items() if path.rpartition(".")[2] == "length"]
    caches = [x for path, x in leaves.items() if path.rpartition(".")[2] == "keys"]
    if not lengths:
        raise ValueError(
            f"{_CALLER}: model must have a cache, got a state without one; give it "
            "one, as in models.gpt(..., cache=(batch_size, max_length)), and pass the "
            "state that its init returns"
        )
    used = max(x.item() for x in lengths) if start(lengths) else 0
    needed = used + shape[1] + new - 1
    for cache in caches:
        batch_size, max_length = cache.shape[0], cache.shape[2] - 1
        if shape[0] != batch_size:
            raise ValueError(
                f"{_CALLER}: prompt must have as many texts as the cache, "
                f"{batch_size}, got {shape[0]}"
            )
        if needed > max_length:
            seen = f"the {used} tokens in it, " if used else ""
            raise ValueError(
                f"{_CALLER}: the cache must have room for {seen}a prompt of {shape[1]} "
                f"and {new} new tokens, {needed} in all, got a cache of {max_length}; "
                "shorten the prompt, or give the model a longer cache"
            )


def _require_key(key: Any) -> Key:
    if key is None:
        raise ValueError(
            f"{_CALLER}: key must be given for a temperature above 0, got None; give "
            "key=random.key(0), or temperature=0 for the most probable tokens"
        )
    return check_key(_CALLER, key)


def _as_array(number: float | None) -> Array | None:
    return None if number is None else mx.array(number)

"""GPT-2: a decoder-only transformer.

Radford et al., 2019, "Language models are unsupervised multitask learners", section
2.3, with the names of its released weights.
"""

from functools import partial
from typing import Any

from lucid_fn import nn
from lucid_fn.checks import check_bool, check_count, check_integer, shape_error
from lucid_fn.models.normal_init import normal_init
from lucid_fn.nn.core.checks import (
    check_activation,
    check_eps,
    check_positive,
    check_rate,
)
from lucid_fn.nn.embedding import project_to_rows, rows_and_weight
from lucid_fn.types import Array, ArrayFn


def gpt(
    vocab_size: int = 50257,
    max_length: int = 1024,
    *,
    num_layers: int = 12,
    num_heads: int = 12,
    d_model: int = 768,
    dim_feedforward: int | None = None,
    rate: float = 0.1,
    activation: ArrayFn = nn.gelu_tanh,
    eps: float = 1e-5,
    tied: bool = True,
    cache: tuple[int, int] | None = None,
) -> nn.Layer:
    """GPT-2: integers `(N, L)` to logits of the next token `(N, L, vocab_size)`.

    `x = wte[tokens] + wpe`; in each block `x + attn(ln_1(x))`, then `x + mlp(ln_2(x))`;
    at the end `ln_f(x) @ wte.T`. The defaults are those of the smallest GPT-2, which
    has 124,439,808 parameters.

    With a `cache` it takes the next tokens of each sequence, one or many, and returns
    the same logits for them as for the whole sequence. The state contains the cache,
    and is also updated in eval mode; start a new sequence with the state that `init`
    returns.

    Params: `wte` and `wpe`, in `h` the blocks `0`, `1`, ... with `ln_1`, `attn`, `ln_2`
    and `mlp` of `c_fc` and `c_proj`, then `ln_f`, and `lm_head` if it is not tied.
    `attn` is a `multi_head_attention`. Initial values are GPT-2's: normal with a
    standard deviation of 0.02, or `0.02 / sqrt(2 * num_layers)` in the last layer of
    each residual branch, and biases of 0.

    Args:
        vocab_size: number of tokens.
        max_length: maximum length of a sequence, the number of learned positions.
        num_layers: number of blocks.
        num_heads: number of attention heads, a divisor of `d_model`.
        d_model: features of a token.
        dim_feedforward: features between the two linear layers of a block;
            `4 * d_model` if `None`.
        rate: probability of dropping an embedded feature, an output of a residual
            branch, or an attention weight; in [0, 1).
        activation: function between the two linear layers.
        eps: `eps` of the layer norms.
        tied: whether the output layer shares its weight with the embedding; otherwise
            it is a linear layer without a bias.
        cache: `(batch_size, max_length)` of a KV cache, for decoding. One that is
            shorter than the model's `max_length` takes less memory and time.

    Raises:
        TypeError: if an argument is of the wrong type; on apply, if the tokens are not
            integers.
        ValueError: if an argument is out of range; on apply, if there are more than
            `max_length` tokens, or dropout has no key.

    Source: Radford et al., 2019, "Language models are unsupervised multitask learners",
    section 2.3; initial values as in its code.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import models, random
        >>> model = models.gpt(50, 16, num_layers=2, num_heads=2, d_model=8)
        >>> params, state = model.init(random.key(0))
        >>> tokens = mx.array([[1, 2, 3]])
        >>> model.apply(params, state, tokens, train=False)[0].shape
        (1, 3, 50)
    """
    caller = "gpt"
    check_bool(caller, tied=tied)
    hidden = 4 * d_model if dim_feedforward is None else dim_feedforward
    vocab_size, max_length, num_layers, num_heads, d_model, hidden = check_positive(
        caller,
        vocab_size=vocab_size,
        max_length=max_length,
        num_layers=num_layers,
        num_heads=num_heads,
        d_model=d_model,
        dim_feedforward=hidden,
    )
    rate, eps = check_rate(caller, rate), check_eps(caller, eps)
    check_activation(caller, activation)
    if cache is not None:
        _check_cache(cache, max_length)

    def block() -> nn.Layer:
        return _block(
            ln_1=nn.layer_norm(d_model, eps=eps),
            attn=_attention(d_model, num_heads, rate, cache),
            drop=nn.dropout(rate),
            ln_2=nn.layer_norm(d_model, eps=eps),
            mlp=nn.serial(
                c_fc=nn.linear(d_model, hidden),
                act=activation,
                c_proj=nn.linear(hidden, d_model),
                drop=nn.dropout(rate),
            ),
        )

    def forward(
        tokens: Array,
        wte: ArrayFn,
        wpe: ArrayFn,
        drop: ArrayFn,
        h: ArrayFn,
        ln_f: ArrayFn,
        lm_head: ArrayFn | None = None,
    ) -> Any:
        _check_tokens(tokens)
        embedded, weight = wte(tokens)
        x = ln_f(h(drop(wpe(embedded))))  # (N, L, d_model)
        return project_to_rows(x, weight) if lm_head is None else lm_head(x)

    children = {
        "wte": rows_and_weight(nn.embedding(vocab_size, d_model)),
        "wpe": nn.learned_positions(max_length, d_model, cached=cache is not None),
        "drop": nn.dropout(rate),
        "h": nn.serial(*[block() for _ in range(num_layers)]),
        "ln_f": nn.layer_norm(d_model, eps=eps),
    }
    if not tied:
        children["lm_head"] = nn.linear(d_model, vocab_size, bias=False)
    last_in_branch = ("out_proj.weight", "c_proj.weight")
    scales = dict.fromkeys(last_in_branch, (2 * num_layers) ** -0.5)

    def with_init(forward: Any, **children: nn.Layer) -> nn.Layer:
        return normal_init(nn.compose(forward, examplewise=False, **children), scales)

    model = with_init(forward, **children)
    if tied:  # there is no head among the children that `models.backbone` could drop
        model.apply.without_head = partial(with_init, _features)  # type: ignore[attr-defined]
    return model


def _features(
    tokens: Array,
    wte: ArrayFn,
    wpe: ArrayFn,
    drop: ArrayFn,
    h: ArrayFn,
    ln_f: ArrayFn,
) -> Any:
    _check_tokens(tokens)
    embedded, _ = wte(tokens)
    return ln_f(h(drop(wpe(embedded))))  # (N, L, d_model)


def _check_tokens(tokens: Any) -> None:
    check_integer("gpt", tokens=tokens)
    if tokens.ndim != 2:
        raise shape_error("gpt", "tokens", tokens, "(N, L)", axes=2)


def _block(**children: nn.Layer) -> nn.Layer:
    def forward(
        x: Array,
        ln_1: ArrayFn,
        attn: ArrayFn,
        drop: ArrayFn,
        ln_2: ArrayFn,
        mlp: ArrayFn,
    ) -> Any:
        x = x + drop(attn(ln_1(x)))
        return x + mlp(ln_2(x))

    return nn.compose(forward, examplewise=True, **children)


def _attention(
    d_model: int, num_heads: int, rate: float, cache: tuple[int, int] | None
) -> nn.Layer:
    if cache is None:
        return nn.multi_head_attention(d_model, num_heads, causal=True, rate=rate)
    batch_size, length = cache
    return nn.cached_attention(
        d_model, num_heads, batch_size=batch_size, max_length=length
    )


def _check_cache(cache: Any, max_length: int) -> None:
    if not isinstance(cache, tuple) or len(cache) != 2:
        raise ValueError(f"gpt: cache must be (batch_size, max_length), got {cache!r}")
    for name, size in zip(("batch_size", "max_length"), cache, strict=True):
        check_count("gpt", f"cache's {name}", size)
    if cache[1] > max_length:
        raise ValueError(
            f"gpt: cache's max_length must be at most the model's, {max_length}, got "
            f"{cache[1]}"
        )

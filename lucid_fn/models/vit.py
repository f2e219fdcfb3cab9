"""Vision transformers, with the names and the initialization of torchvision.

Dosovitskiy et al., 2020, "An image is worth 16x16 words: transformers for image
recognition at scale", https://arxiv.org/abs/2010.11929, figure 1 and table 1.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn import nn, random
from lucid_fn.checks import check_number, shape_error
from lucid_fn.nn import initializers
from lucid_fn.nn.core.checks import check_images, check_positive, check_rate
from lucid_fn.nn.core.layer import require_names, wrap
from lucid_fn.nn.core.surgery import children_of, with_children
from lucid_fn.tracing import started
from lucid_fn.types import Array, ArrayFn, Key, Params, State


def vit(
    num_classes: int = 1000,
    *,
    image_size: int = 224,
    patch_size: int = 16,
    num_layers: int = 12,
    num_heads: int = 12,
    hidden_dim: int = 768,
    mlp_dim: int = 3072,
    rate: float = 0.0,
    attention_rate: float = 0.0,
) -> nn.Layer:
    """Vision transformer: images `(N, H, W, 3)` to logits `(N, num_classes)`.

    Each patch of the image is projected to a vector; a class token is prepended,
    learned positions are added, and the head takes the encoder's output at the class
    token. The defaults are those of ViT-B/16, which has 86,567,656 parameters. The
    names are those of torchvision's `vit_b_16`: `conv_proj`, `class_token`,
    `encoder.pos_embedding`, `encoder.layers.encoder_layer_0.self_attention`, ...,
    `heads.head`.

    Args:
        num_classes: number of classes, at least 1.
        image_size: height and width of the images, a multiple of `patch_size`.
        patch_size: height and width of a patch.
        num_layers: number of encoder blocks.
        num_heads: number of attention heads, a divisor of `hidden_dim`.
        hidden_dim: features of each patch.
        mlp_dim: features between the two linear layers of a block.
        rate: probability of dropping a feature, in [0, 1).
        attention_rate: probability of dropping an attention weight, in [0, 1).

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if an argument is out of range; on apply, if the images are not of
            this size.

    Source: Dosovitskiy et al., 2020, https://arxiv.org/abs/2010.11929, equations 1
    to 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import models, random
        >>> sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
        >>> model = models.vit(10, image_size=32, patch_size=8, **sizes)
        >>> params, state = model.init(random.key(0))
        >>> params["encoder"]["pos_embedding"].shape
        (1, 17, 16)
        >>> model.apply(params, state, mx.zeros((1, 32, 32, 3)), train=False)[0].shape
        (1, 10)
    """
    num_classes, image_size, patch_size, num_layers = check_positive(
        "vit",
        num_classes=num_classes,
        image_size=image_size,
        patch_size=patch_size,
        num_layers=num_layers,
    )
    num_heads, hidden_dim, mlp_dim = check_positive(
        "vit", num_heads=num_heads, hidden_dim=hidden_dim, mlp_dim=mlp_dim
    )
    rate = check_rate("vit", rate)
    attention_rate = check_number(
        "vit", "attention_rate", attention_rate, at_least=0, below=1
    )
    if image_size % patch_size:
        raise ValueError(
            f"vit: image_size must be a multiple of patch_size, got {image_size} and "
            f"{patch_size}"
        )
    image_shape = (image_size, image_size, 3)
    length = (image_size // patch_size) ** 2 + 1  # patches and the class token

    def forward(
        inputs: tuple[Array, Array],
        conv_proj: ArrayFn,
        encoder: ArrayFn,
        heads: ArrayFn,
    ) -> Any:
        x, token = inputs
        check_images("vit", x, 3, dims=2)
        if x.shape[1:] != image_shape:
            raise shape_error("vit", "x", x, f"(N, {image_size}, {image_size}, 3)")
        x = conv_proj(x).reshape(-1, length - 1, hidden_dim)
        token = mx.broadcast_to(token, (len(x), 1, hidden_dim))
        x = encoder(mx.concatenate([token, x], axis=1))  # (N, length, hidden_dim)
        return heads(x[:, 0])

    blocks = {
        f"encoder_layer_{i}": _block(
            num_heads, hidden_dim, mlp_dim, rate=rate, attention_rate=attention_rate
        )
        for i in range(num_layers)
    }
    model = nn.compose(
        forward,
        conv_proj=nn.conv2d(
            3,
            hidden_dim,
            patch_size,
            stride=patch_size,
            weight_init=initializers.scaled_normal(1.0, initializers.fan_in),
            bias_init=initializers.zeros,
        ),
        encoder=_with_param(
            "pos_embedding",
            lambda key: 0.02 * random.normal(key, (1, length, hidden_dim)),
            nn.compose(
                _encode,
                dropout=nn.dropout(rate),
                layers=nn.serial(**blocks),
                ln=nn.layer_norm(hidden_dim, eps=1e-6),
            ),
        ),
        heads=nn.serial(
            head=nn.linear(
                hidden_dim,
                num_classes,
                weight_init=initializers.zeros,
                bias_init=initializers.zeros,
            )
        ),
    )
    model = _with_param("class_token", lambda key: mx.zeros((1, 1, hidden_dim)), model)
    # Spares `interop.torch` many derivatives of the model, by which it would find out.
    model.apply.without_flatten = True  # type: ignore[attr-defined]
    return model


def _encode(
    inputs: tuple[Array, Array], dropout: ArrayFn, layers: ArrayFn, ln: ArrayFn
) -> Any:
    x, positions = inputs
    return ln(layers(dropout(x + positions)))


def _block(
    num_heads: int, hidden_dim: int, mlp_dim: int, *, rate: float, attention_rate: float
) -> nn.Layer:
    """Attention and a feed-forward network, each after a norm: equations 2 and 3."""

    def forward(
        x: Array,
        ln_1: ArrayFn,
        self_attention: ArrayFn,
        dropout: ArrayFn,
        ln_2: ArrayFn,
        mlp: ArrayFn,
    ) -> Any:
        x = x + dropout(self_attention(ln_1(x)))
        return x + mlp(ln_2(x))

    def linear(inputs: int, outputs: int) -> nn.Layer:
        return nn.linear(
            inputs,
            outputs,
            weight_init=initializers.xavier_uniform(),
            bias_init=initializers.normal(1e-6),
        )

    return nn.compose(
        forward,
        examplewise=True,
        ln_1=nn.layer_norm(hidden_dim, eps=1e-6),
        self_attention=nn.multi_head_attention(
            hidden_dim, num_heads, rate=attention_rate
        ),
        dropout=nn.dropout(rate),
        ln_2=nn.layer_norm(hidden_dim, eps=1e-6),
        mlp=nn.serial(
            linear(hidden_dim, mlp_dim),
            nn.gelu,
            nn.dropout(rate),
            linear(mlp_dim, hidden_dim),
            nn.dropout(rate),
        ),
    )


def _with_param(name: str, draw: Callable[[Key], Array], layer: nn.Layer) -> nn.Layer:
    """A wrapper of `layer` with a param `name`: `layer` gets the pair `(x, param)`.

    The param is an array among the params of the children of `layer`, which are dicts.
    """

    def init(key: Key, /) -> tuple[Params, State]:
        params, state = layer.init(key)
        return started({name: draw(random.fold_in(key, name))}) | params, state

    def run(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        param = require_names(params, "params")[name]
        rest = {other: value for other, value in params.items() if other != name}
        return layer.apply(rest, state, (x, param), train=train, key=key)

    def rebuild(children: dict[str, nn.Layer]) -> nn.Layer:
        return _with_param(name, draw, with_children(layer, children))

    wrapper = wrap(layer, run, init=init)
    wrapper.apply.children, wrapper.apply.rebuild = children_of(layer), rebuild  # type: ignore[attr-defined]
    return wrapper

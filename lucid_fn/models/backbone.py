"""Models without their heads."""

from lucid_fn import nn
from lucid_fn.nn.core.children import as_layer
from lucid_fn.nn.core.layer import check_layer
from lucid_fn.nn.core.surgery import children_of, with_children


def backbone(model: nn.Layer, /) -> nn.Layer:
    """`model` without its last child, the head: from images to features.

    The params of the backbone are those of the model without the head's, under the same
    names, so that pretrained ones fit. Of `models.resnet18()` the features have the
    shape `(N, 512)`, of `models.unet()` they are a map `(N, H, W, 64)`. The head of a
    model whose embedding is its output layer too, as of `models.gpt()`, is the product
    with the embedding: the features are `(N, L, d_model)`, and no child is left out.

    Args:
        model: one of `models`, or what `nn.serial` or `nn.compose` made of named
            children, the head being the last.

    Raises:
        TypeError: if `model` is not a layer.
        ValueError: if `model` is not made of children, or is wrapped.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import models, nn, random
        >>> features = models.backbone(models.resnet18())
        >>> model = nn.serial(backbone=features, head=nn.linear(512, 10))
        >>> pretrained, statistics = models.resnet18().init(random.key(0))
        >>> params, state = model.init(random.key(1))
        >>> params["backbone"] = {k: v for k, v in pretrained.items() if k != "fc"}
        >>> model.apply(params, state, mx.zeros((1, 64, 64, 3)), train=False)[0].shape
        (1, 10)
    """
    check_layer("backbone", model)
    children = children_of(model)
    if not children:
        raise ValueError(
            "backbone: model must be made of named children, as nn.serial makes one, "
            "and is wrapped afterwards, as in "
            f"nn.mixed_precision(models.backbone(model)), got {model!r}"
        )
    without_head = getattr(model.apply, "without_head", None)
    if without_head is not None:
        tied: nn.Layer = without_head(**children)
        return tied
    *_, head = children
    return with_children(model, {**children, head: as_layer(head, nn.identity)})

"""`backbone`: a model without its head."""

from lucid_fn import nn
from lucid_fn.nn.core.children import as_layer
from lucid_fn.nn.core.layer import check_layer
from lucid_fn.nn.core.surgery import children_of, with_children


def backbone(model: nn.Layer, /) -> nn.Layer:
    """`model` without its head, the last child: from inputs to features.

    The params of the backbone are those of the model without those of the head, under
    the same names, so that pretrained params fit. The features of `models.resnet18()`
    have the shape `(N, 512)`, those of `models.unet()` are a map `(N, H, W, 64)`. In a
    model whose output layer is tied to the embedding, such as `models.gpt()`, the head
    is the product with the embedding: the features are `(N, L, d_model)`, and all
    children are kept.

    Args:
        model: one of `models`, or a layer that `nn.serial` or `nn.compose` made of
            named children, with the head last.

    Raises:
        TypeError: if `model` is not a layer.
        ValueError: if `model` has no children, or is wrapped.

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
            f"backbone: model must be made by nn.serial or nn.compose, got {model!r}; "
            "wrap the backbone, as in nn.mixed_precision(models.backbone(model))"
        )
    without_head = getattr(model.apply, "without_head", None)
    if without_head is not None:
        tied: nn.Layer = without_head(**children)
        return tied
    *_, head = children
    return with_children(model, {**children, head: as_layer(head, nn.identity)})

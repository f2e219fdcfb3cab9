"""Models: LeNet-5 and the ResNets."""

from lucid_fn.elsewhere import guide
from lucid_fn.models.backbone import backbone
from lucid_fn.models.lenet import lenet5
from lucid_fn.models.resnet import cifar_resnet18, resnet18, resnet34, resnet50
from lucid_fn.nn.core.layer import finish

__all__ = ["backbone", "cifar_resnet18", "lenet5", "resnet18", "resnet34", "resnet50"]

guide(globals(), "models", made=finish)

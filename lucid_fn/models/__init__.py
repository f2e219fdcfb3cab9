"""Models of images: LeNet-5, ResNets, MobileNetV2, vision transformers and U-Net."""

from lucid_fn.elsewhere import guide
from lucid_fn.models.backbone import backbone
from lucid_fn.models.lenet import lenet5
from lucid_fn.models.mobilenet import mobilenet_v2
from lucid_fn.models.resnet import cifar_resnet18, resnet18, resnet34, resnet50
from lucid_fn.models.unet import unet
from lucid_fn.models.vit import vit
from lucid_fn.nn.core.layer import finish

__all__ = [
    "backbone",
    "cifar_resnet18",
    "lenet5",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "unet",
    "vit",
]

guide(globals(), "models", made=finish)

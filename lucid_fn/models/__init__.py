"""Models for images (LeNet, ResNets, MobileNetV2, ViT, U-Net) and text (GPT, BERT)."""

from lucid_fn.call_errors import guide
from lucid_fn.models.backbone import backbone
from lucid_fn.models.bert import BertInputs, BertOutput, bert
from lucid_fn.models.generate import generate
from lucid_fn.models.gpt import gpt
from lucid_fn.models.lenet import lenet5
from lucid_fn.models.mobilenet import mobilenet_v2
from lucid_fn.models.resnet import cifar_resnet18, resnet18, resnet34, resnet50
from lucid_fn.models.unet import unet
from lucid_fn.models.vit import vit
from lucid_fn.nn.core.layer import finish

__all__ = [
    "BertInputs",
    "BertOutput",
    "backbone",
    "bert",
    "cifar_resnet18",
    "generate",
    "gpt",
    "lenet5",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "unet",
    "vit",
]

guide(globals(), "models", on_result=finish)

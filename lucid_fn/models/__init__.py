"""Models: LeNet-5, the ResNets, and language models."""

from lucid_fn.elsewhere import guide
from lucid_fn.models.bert import BertInputs, BertOutput, bert
from lucid_fn.models.generate import generate
from lucid_fn.models.gpt import gpt
from lucid_fn.models.lenet import lenet5
from lucid_fn.models.resnet import cifar_resnet18, resnet18, resnet34, resnet50
from lucid_fn.nn.core.layer import finish

__all__ = [
    "BertInputs",
    "BertOutput",
    "bert",
    "cifar_resnet18",
    "generate",
    "gpt",
    "lenet5",
    "resnet18",
    "resnet34",
    "resnet50",
]

guide(globals(), "models", made=finish)

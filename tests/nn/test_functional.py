"""The names of torch.nn.functional, with its arguments in its order and with its defaults."""

import ast
import inspect

import pytest

from minidl.nn import functional as F

from ..test_package import OWN_FUNCTIONS

# Written in C++ there, so that Python sees no signature: from torch's documentation.
BUILTIN = {
    "conv1d": "input weight bias=None stride=1 padding=0 dilation=1 groups=1",
    "conv2d": "input weight bias=None stride=1 padding=0 dilation=1 groups=1",
    "conv_transpose1d": "input weight bias=None stride=1 padding=0 output_padding=0 groups=1 "
    "dilation=1",
    "conv_transpose2d": "input weight bias=None stride=1 padding=0 output_padding=0 groups=1 "
    "dilation=1",
    "avg_pool1d": "input kernel_size stride=None padding=0 ceil_mode=False count_include_pad=True",
    "avg_pool2d": "input kernel_size stride=None padding=0 ceil_mode=False count_include_pad=True "
    "divisor_override=None",
    "adaptive_avg_pool1d": "input output_size",
    "max_pool1d": "input kernel_size stride=None padding=0 dilation=1 ceil_mode=False "
    "return_indices=False",
    "max_pool2d": "input kernel_size stride=None padding=0 dilation=1 ceil_mode=False "
    "return_indices=False",
    "adaptive_max_pool1d": "input output_size return_indices=False",
    "adaptive_max_pool2d": "input output_size return_indices=False",
    "linear": "input weight bias=None",
    "gelu": "input approximate='none'",
    "softplus": "input beta=1.0 threshold=20.0",
    "logsigmoid": "input",
    "prelu": "input weight",
    "one_hot": "tensor num_classes=-1",
    "channel_shuffle": "input groups",
    "scaled_dot_product_attention": "query key value attn_mask=None dropout_p=0.0 is_causal=False "
    "scale=None enable_gqa=False",
}

# Deprecated there, or the bookkeeping of a warning, or for arrays to write into.
LEFT_OUT = {"size_average", "reduce", "_stacklevel", "out"}
# A weight for each element, which torch's layers of the same name do not have.
WITHOUT_WEIGHT = {"huber_loss", "l1_loss", "mse_loss"}


def arguments(name, function):
    """The names of the arguments, and the defaults of those that have one."""
    found = []
    for p in inspect.signature(function).parameters.values():
        if p.name not in LEFT_OUT and not (p.name == "weight" and name in WITHOUT_WEIGHT):
            found.append((p.name, *(() if p.default is p.empty else (p.default,))))
    return found


@pytest.mark.parametrize("name", sorted(set(F.__all__) - OWN_FUNCTIONS))
def test_arguments_are_torchs(name):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    if name in BUILTIN:
        parts = [text.partition("=") for text in BUILTIN[name].split()]
        theirs = [(key, ast.literal_eval(value)) if value else (key,) for key, _, value in parts]
    else:
        theirs = arguments(name, getattr(torch.nn.functional, name))
    assert arguments(name, getattr(F, name)) == theirs


def test_every_name_is_there_once():
    assert len(set(F.__all__)) == len(F.__all__)
    assert all(hasattr(F, name) for name in F.__all__)

"""Parts of a network that training leaves as they are: transfer of what another data set taught.

Yosinski et al., "How transferable are features in deep neural networks?", 2014, compare the two
ways: the transferred layers frozen, or trained further ("fine-tuned") with the new ones.
"""

from __future__ import annotations

from typing import TypeVar

from .containers import ModuleList, Sequential
from .module import Module
from .normalization import GroupNorm, LayerNorm, _Norm

__all__ = ["blocks", "fine_tune", "freeze", "unfreeze"]

M = TypeVar("M", bound=Module)

_NORMS = (_Norm, LayerNorm, GroupNorm)


def freeze(module: M) -> M:
    """Let training change nothing in a module: neither parameters nor running statistics.

    The parameters no longer require gradients (and gradients that they have are dropped, so that an
    optimiser passes over them), and BatchNorm normalises with its running statistics and leaves
    them as they are, in training mode too: `train()` does not undo this, only `unfreeze` does.
    Dropout is not concerned; it follows `train()` and `eval()` as before.

    Args:
        module: a network or a part of it, as `net.layer1`; changed in place.

    Returns:
        the module.
    """
    return _set_frozen(module, True)


def unfreeze(module: M) -> M:
    """Undo `freeze`: parameters are trained and running statistics follow the batches again."""
    return _set_frozen(module, False)


def _set_frozen(module: M, frozen: bool) -> M:
    for parameter in module.parameters():
        parameter.requires_grad_(not frozen)
        if frozen:
            parameter.grad = None
    for layer in module.modules():
        # Without running statistics there is nothing but the batch's own to normalise with.
        if isinstance(layer, _Norm) and layer.track_running_stats:
            layer.frozen = frozen
    return module


def blocks(model: Module) -> list[list[str]]:
    """The blocks that a network is made of, from input to output, each as the paths of its modules.

    A block is a child of the network that has parameters, such as a convolution, a residual block
    or the last linear layer; of a Sequential or ModuleList, and of a module that is a row of equals
    and a normalisation, as the encoder of a transformer, each of its children in turn. A
    normalisation that stands by itself belongs to the block before it.

    Args:
        model: the network; its children must be in the order in which they are called.

    Example:
        >>> blocks(models.resnet20())[:2]
        [['conv1', 'bn1'], ['layer1.0']]
    """
    found: list[list[str]] = []
    for path, module in _layers(model, ""):
        if found and isinstance(module, _NORMS):
            found[-1].append(path)
        else:
            found.append([path])
    return found


def _layers(model: Module, prefix: str) -> list[tuple[str, Module]]:
    """(path, module) of the children with parameters, containers opened."""
    found: list[tuple[str, Module]] = []
    for name, child in model.named_children():
        path = f"{prefix}{name}"
        if _is_sequence(child):
            found += _layers(child, f"{path}.")
        elif next(child.parameters(), None) is not None:
            found.append((path, child))
    return found


def _is_sequence(module: Module) -> bool:
    """Whether it is a Sequential or ModuleList, or has, but for normalisation, nothing other than
    one of equal modules that are made of parts.
    """
    if type(module) in (Sequential, ModuleList):
        return True
    parts = [part for part in module.children() if next(part.parameters(), None) is not None]
    parts = [part for part in parts if not isinstance(part, _NORMS)]
    if len(parts) != 1 or type(parts[0]) not in (Sequential, ModuleList):
        return False
    row = list(parts[0].children())
    return len({type(part) for part in row}) == 1 and bool(list(row[0].children()))


def fine_tune(model: M, last: int | None = None) -> M:
    """Train the last blocks of a network, and freeze everything before them.

    Args:
        model: the network; changed in place.
        last: how many blocks (see `blocks`) are trained: 1 is the last layer alone, with the rest
            as a fixed extractor of features. None: all of them, and parameters of the network's
            own, too.

    Returns:
        the model.

    Raises:
        ValueError: the network does not have so many blocks.
    """
    if last is None:
        return unfreeze(model)
    found = blocks(model)
    if not 1 <= last <= len(found):
        raise ValueError(
            f"fine_tune: last={last}, but {type(model).__name__} has {len(found)} blocks; the "
            f"last of them are {', '.join(block[0] for block in found[-3:]) or 'none'}"
        )
    freeze(model)
    for block in found[-last:]:
        for path in block:
            unfreeze(model.get_submodule(path))
    return model

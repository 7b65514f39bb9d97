"""Class activation maps: where in a layer's maps the evidence for a class lies."""

from __future__ import annotations

from collections.abc import Sequence

from ..autograd import Tensor, enable_grad, grad, no_grad
from ..nn import Linear, Module
from ..nn import functional as F
from ..nn.modes import eval_mode
from .common import Target, as_input, class_scores, classes_of, outputs_of, the_output

__all__ = ["cam", "grad_cam"]


def cam(
    model: Module,
    x: Tensor,
    layer: str,
    head: str,
    target: Target = None,
    *,
    size: Sequence[int] | None = None,
) -> Tensor:
    """The maps of the last layer, weighted as the class weights their means. Zhou et al. 2016.

    For a network that ends in convolution, global average pooling and a linear layer: the class's
    score is the mean of this map, and the bias (equations 1 and 2).

    Args:
        model: a network from x to scores (N, classes).
        x: pictures (N, C, H, W).
        layer: the path of the module whose maps (N, K, h, w) are averaged, such as "layer4".
        head: the path of the linear layer from K to classes, such as "fc".
        target: a class, or (N,) one for each picture; None: the class with the best score.
        size: (H, W) to enlarge the map to, bilinearly, such as `x.shape[2:]`; None: (h, w). As in
            the papers, the map is laid over all of the picture; without padding its units see less
            (`receptive_windows`), and the map seems drawn outwards.

    Returns:
        (N, h, w), or of `size`.

    Raises:
        AttributeError: the model has no such modules.
        TypeError: x is not a tensor of floating-point numbers; `head` no linear layer.
        ValueError: x are no pictures, the layer does not give maps once, their number is not that
            of the linear layer's inputs, or the target is no class.
    """
    linear = model.get_submodule(head)
    if not isinstance(linear, Linear):
        raise TypeError(f"cam: {head!r} is a {type(linear).__name__}, not a Linear; use grad_cam")
    leaf = as_input("cam", x, pictures=True).detach()
    with eval_mode(model), no_grad():
        with outputs_of(model, layer) as outputs:
            classes = classes_of("cam", model, leaf, target)
        maps = _maps("cam", layer, the_output("cam", layer, outputs[layer]))
        if maps.shape[1] != linear.in_features:
            raise ValueError(
                f"cam: {layer!r} gives {maps.shape[1]} maps but {head!r} weights "
                f"{linear.in_features}: only global pooling may lie between them; use grad_cam"
            )
        weights = linear.weight[Tensor(classes, device=x.device)]
        return _enlarged((maps * weights.unsqueeze(2).unsqueeze(3)).sum(1), size)


def grad_cam(
    model: Module,
    x: Tensor,
    layer: str,
    target: Target = None,
    *,
    size: Sequence[int] | None = None,
    relu: bool = True,
) -> Tensor:
    """The maps of any layer, weighted by the mean gradients of a class's score to them.

    Selvaraju et al., "Grad-CAM", 2017, equations 1 and 2. Where `cam` is possible, it is the same
    but for the ReLU and the factor h w (section 3.1).

    Args:
        model, x, target, size: as `cam`.
        layer: the path of a module that gives maps (N, K, h, w).
        relu: leave out what speaks against the class.

    Returns:
        (N, h, w), or of `size`.

    Raises:
        AttributeError: the model has no such module.
        TypeError: x is not a tensor of floating-point numbers; the layer does not give a tensor.
        ValueError: x are no pictures, the layer does not give maps once, or the target is no class.
        RuntimeError: the score does not depend on the layer.
    """
    leaf = as_input("grad_cam", x, pictures=True)
    with eval_mode(model):
        classes = classes_of("grad_cam", model, leaf.detach(), target)
        with enable_grad(), outputs_of(model, layer) as outputs:
            total = class_scores("grad_cam", model, leaf, classes).sum()
        maps = _maps("grad_cam", layer, the_output("grad_cam", layer, outputs[layer]))
        (slope,) = grad(total, maps)
    assert slope is not None
    with no_grad():
        found = (maps.detach() * slope.mean((2, 3), keepdim=True)).sum(1)
        return _enlarged(F.relu(found) if relu else found, size)


def _maps(name: str, layer: str, output: Tensor) -> Tensor:
    if output.ndim != 4:
        raise ValueError(
            f"{name}: {layer!r} gives {output.shape}, not maps (N, K, h, w); choose a layer before "
            "the maps are flattened"
        )
    return output


def _enlarged(maps: Tensor, size: Sequence[int] | None) -> Tensor:
    if size is None:
        return maps
    return F.interpolate(maps.unsqueeze(1), size=tuple(size), mode="bilinear").squeeze(1)

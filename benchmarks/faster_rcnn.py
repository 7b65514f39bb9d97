"""A training step of Faster R-CNN, minidl's beside torchvision's, from the same weights.

torchvision's RoIAlign and NMS are compiled for one build of torch, and do not load beside another.
Where they do not, it is lent minidl's: then the row compares all the rest.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .detection import boxes_in

__all__ = ["ROWS", "measure"]

ROWS = {"fasterrcnn_resnet18_fpn": "training step, Faster R-CNN ResNet-18-FPN, 256 x 256, batch 2"}
SIZE, BATCH, OBJECTS, CLASSES = 256, 2, 8, 20
RATE = 1e-4  # too low to learn much: so each step has as many proposals as the one before


@functools.cache
def torchvision() -> tuple[Any, bool]:
    """torchvision's detectors, and whether its operations are lent to it by minidl."""
    import torch

    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        return torchvision, False
    except RuntimeError:  # as its compiled part is not there, what it looks up is missing
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", lent_nms, "CPU")
    import torchvision
    from torchvision.ops import boxes, poolers

    boxes._assert_has_ops = lambda: None
    poolers.roi_align = lent_roi_align()
    torchvision.lent = library  # a Library takes its definitions along when it is freed
    return torchvision, True


def lent_nms(boxes: Any, scores: Any, threshold: float) -> Any:
    """minidl's NMS on torch's tensors."""
    import torch

    from minidl.boxes import nms

    return torch.from_numpy(nms(boxes.numpy(), scores.numpy(), threshold))


def lent_roi_align() -> Callable[..., Any]:
    """minidl's RoIAlign on torch's tensors, with its gradient; called as torchvision's."""
    import torch

    import minidl as md
    from minidl.nn import functional as F

    class RoIAlign(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, rois: Any, size: Any, scale: float, samples: int) -> Any:
            ctx.leaf = md.Tensor(x.detach().numpy(), requires_grad=True)
            ctx.pooled = F.roi_align(ctx.leaf, rois.numpy(), size, scale, samples)
            return torch.from_numpy(ctx.pooled.detach().numpy())

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            given = md.Tensor(gradient.contiguous().numpy())
            (found,) = md.grad(ctx.pooled, ctx.leaf, grad_outputs=given)
            return torch.from_numpy(found.numpy()), None, None, None, None

    def roi_align(
        x: Any, rois: Any, output_size: Any, spatial_scale: float, sampling_ratio: int
    ) -> Any:
        return RoIAlign.apply(x, rois, output_size, spatial_scale, sampling_ratio)

    return roi_align


def scenes() -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Pictures (N, 3, H, W) in [0, 1], and what is in each: noise, and boxes of chance."""
    rng = np.random.default_rng(0)
    images = rng.random((BATCH, 3, SIZE, SIZE), np.float32)
    targets = [
        {
            "boxes": boxes_in(OBJECTS, SIZE, SIZE, rng),
            "labels": rng.integers(0, CLASSES, OBJECTS),
        }
        for _ in range(BATCH)
    ]
    return images, targets


def minidl_network() -> Any:
    """minidl's; its batch norm learns, as torchvision's does below."""
    import minidl as md
    from minidl import models

    md.manual_seed(0)
    return models.fasterrcnn_resnet18_fpn(CLASSES, min_size=SIZE)


def torch_network(weights: dict[str, Any]) -> Any:
    """torchvision's, with these weights."""
    import torch

    detection = torchvision()[0].models.detection
    backbone = detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=torch.nn.BatchNorm2d, trainable_layers=5
    )
    model = detection.FasterRCNN(backbone, CLASSES + 1, min_size=SIZE, max_size=1333)
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return model


def steps() -> dict[str, Callable[[], Any]]:
    """library -> a function that does one training step and gives the losses before it."""
    import torch

    import minidl as md

    images, targets = scenes()
    ours = minidl_network()
    theirs = torch_network({name: p.numpy() for name, p in ours.state_dict().items()})
    settings = {"lr": RATE, "momentum": 0.9, "weight_decay": 1e-4}
    our_rule = md.optim.SGD(ours.parameters(), **settings)
    their_rule = torch.optim.SGD(theirs.parameters(), **settings)
    our_images = [md.tensor(image) for image in images]
    our_targets = [{k: md.tensor(v) for k, v in target.items()} for target in targets]
    their_images = [torch.tensor(image) for image in images]
    their_targets = [
        # Its class 0 is the background.
        {"boxes": torch.tensor(t["boxes"]), "labels": torch.tensor(t["labels"]) + 1}
        for t in targets
    ]

    def minidl_step() -> dict[str, float]:
        losses = ours.losses(our_images, our_targets)
        our_rule.zero_grad()
        sum(losses.values()).backward()
        our_rule.step()
        return {name: loss.item() for name, loss in losses.items()}

    def torch_step() -> dict[str, float]:
        losses = theirs(their_images, their_targets)
        their_rule.zero_grad()
        sum(losses.values()).backward()
        their_rule.step()
        return {name: loss.item() for name, loss in losses.items()}

    return {"minidl": minidl_step, "torch": torch_step}


def measure(name: str, seconds: float) -> dict[str, float]:
    """Seconds of a training step in each library."""
    from .timing import race

    if name not in ROWS:
        raise ValueError(f"unknown detector: {name}; known: {', '.join(ROWS)}")
    return race(steps(), seconds)

"""BagNets: Brendel, Bethge, "Approximating CNNs with bag-of-local-features models", 2019, figure 1.

ResNet-50 with 1x1 convolutions for most of its 3x3: each result of the last stage sees a patch of
9, 17 or 33 pixels, a linear layer gives its evidence for each class, and the mean over all patches
is the score, wherever they lie. So one can see, exactly, which part of a picture spoke for what.

    stage     blocks of            first block                 patch seen, pixels between patches
    conv1     1x1, 64                                           1, 1
    conv2     3x3, 64                                           3, 1
    layer1    3 of 64/256          3x3, stride 2                5, 2
    layer2    4 of 128/512         3x3, stride 2                9, 4
    layer3    6 of 256/1024        3x3, stride 2 (9: 1x1)      17, 8   (9:  9, 8)
    layer4    3 of 512/2048        3x3, stride 1 (9, 17: 1x1)  33, 8   (9:  9, 8;  17: 17, 8)

All other convolutions are 1x1. Nothing is padded; what a 3x3 loses at the lower and right border
is cut from the shortcut. Parameters are called as in the authors' PyTorch code (pytorchnet.py),
whose normalisation after conv2 has the momentum 0.001.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor, no_grad
from ...backend import of
from ...nn import functional as F
from ...nn.fused import norm_relu
from .resnet import conv1x1, make_downsample

__all__ = ["BagNet", "BagNetBottleneck", "bagnet9", "bagnet17", "bagnet33"]


class BagNetBottleneck(nn.Module):
    """1x1, kernel_size without padding, 1x1 to four times `planes`.

    Args:
        inplanes: input channels.
        planes: a quarter of the output channels.
        stride: of the convolution in the middle.
        downsample: brings x to the channels and the stride of the sum; None: x as it is.
        kernel_size: of the convolution in the middle, 1 or 3.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        kernel_size: int = 1,
    ) -> None:
        super().__init__()
        channels = planes * self.expansion
        self.conv1 = conv1x1(inplanes, planes)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv1x1(planes, channels)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = norm_relu(self.bn1, self.conv1(x), self.relu)
        out = norm_relu(self.bn2, self.conv2(out), self.relu)
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(out + shortcut[:, :, : out.shape[2], : out.shape[3]])


class BagNet(nn.Module):
    """The networks of figure 1.

    Convolutions start with variance 2 / (outgoing weights), as in the authors' code.

    Args:
        kernels: of the first block of each stage, 1 or 3.
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        layers: number of blocks in each stage.
        strides: of each stage.
        width: channels of conv1, and `planes` of layer1; the others have 2, 4 and 8 times as many.

    Attributes:
        patch: pixels of the side of what one result sees.
        stride: pixels between neighbouring patches.
    """

    def __init__(
        self,
        kernels: Sequence[int],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        layers: Sequence[int] = (3, 4, 6, 3),
        strides: Sequence[int] = (2, 2, 2, 1),
        width: int = 64,
    ) -> None:
        super().__init__()
        self.conv1 = conv1x1(in_channels, width)
        self.conv2 = nn.Conv2d(width, width, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width, momentum=0.001)
        self.relu = nn.ReLU()
        self.patch, self.stride = 3, 1
        inplanes = width
        for i, (blocks, kernel, stride) in enumerate(zip(layers, kernels, strides, strict=True)):
            planes = width * 2**i
            channels = planes * BagNetBottleneck.expansion
            downsample = make_downsample("B", inplanes, channels, stride)
            stage = nn.Sequential(
                BagNetBottleneck(inplanes, planes, stride, downsample, kernel),
                *(BagNetBottleneck(channels, planes) for _ in range(blocks - 1)),
            )
            self.add_module(f"layer{i + 1}", stage)
            self.patch += (kernel - 1) * self.stride
            self.stride *= stride
            inplanes = channels
        self.fc = nn.Linear(inplanes, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """What the network sees in each patch of (N, in_channels, H, W).

        Returns:
            (N, channels, H', W') with H' = (H - patch) // stride + 1.

        Raises:
            ValueError: pictures smaller than a patch.
        """
        if x.ndim != 4 or min(x.shape[2:]) < self.patch:
            raise ValueError(
                f"BagNet: needs pictures (N, C, H, W) of at least {self.patch} x {self.patch} "
                f"pixels, its patch; got {x.shape}"
            )
        x = norm_relu(self.bn1, self.conv2(self.conv1(x)), self.relu)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.forward_features(x).mean((2, 3)))

    def evidence(self, x: Tensor) -> Tensor:
        """The scores of each patch; their mean over all patches is what the network returns.

        The patch of result (i, j) starts at the pixel (i * stride, j * stride).

        Args:
            x: (N, in_channels, H, W).

        Returns:
            (N, num_classes, H', W') with H' = (H - patch) // stride + 1.
        """
        return self.fc(self.forward_features(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def heat_map(self, x: Tensor, target: int) -> Tensor:
        """The evidence for one class of the patch around every pixel. Section 4 and figure 3.

        Zeros surround the picture. The network gives every `stride`-th patch, so it looks at the
        picture moved by 0 .. stride - 1 pixels in both directions.

        Args:
            x: (N, in_channels, H, W).
            target: the class.

        Returns:
            (N, H, W), without gradient.

        Raises:
            RuntimeError: in training mode, where normalisation mixes the patches.
            IndexError: no such class.
            ValueError: x has not four dimensions.
        """
        if self.training:
            raise RuntimeError(
                "BagNet.heat_map: call eval() first; in training mode the patches "
                "are normalised together"
            )
        if not 0 <= target < self.fc.out_features:
            raise IndexError(
                f"BagNet.heat_map: class {target} of {self.fc.out_features} does not exist"
            )
        if x.ndim != 4:
            raise ValueError(f"BagNet.heat_map: needs pictures (N, C, H, W), got {x.shape}")
        n, _, h, w = x.shape
        before, s = self.patch // 2, self.stride
        xp = of(x.data).xp
        with no_grad():
            padded = F.pad(x, (before, before, before, before))
            weight, bias = self.fc.weight[target], self.fc.bias[target]
            heat = xp.empty((n, h, w), x.dtype)
            for i in range(min(s, h)):
                for j in range(min(s, w)):
                    maps = self.forward_features(padded[:, :, i:, j:])
                    heat[:, i::s, j::s] = (maps.permute(0, 2, 3, 1) @ weight + bias).data
        return Tensor(heat)


def bagnet9(num_classes: int = 1000, *, in_channels: int = 3) -> BagNet:
    """BagNet-9: Brendel and Bethge 2019, figure 1; patches of 9x9 pixels, 15,688,744 parameters.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, H, W), 224 x 224 in the paper, to scores (N, num_classes);
        `evidence` and `heat_map` show where they come from.
    """
    return BagNet((3, 3, 1, 1), num_classes, in_channels=in_channels)


def bagnet17(num_classes: int = 1000, *, in_channels: int = 3) -> BagNet:
    """BagNet-17: Brendel and Bethge 2019, figure 1; patches of 17x17, 16,213,032 parameters.

    Arguments as `bagnet9`.
    """
    return BagNet((3, 3, 3, 1), num_classes, in_channels=in_channels)


def bagnet33(num_classes: int = 1000, *, in_channels: int = 3) -> BagNet:
    """BagNet-33: Brendel and Bethge 2019, figure 1; patches of 33x33, 18,310,184 parameters.

    Top-5 accuracy on ImageNet 87.6 % (abstract). Arguments as `bagnet9`.
    """
    return BagNet((3, 3, 3, 3), num_classes, in_channels=in_channels)

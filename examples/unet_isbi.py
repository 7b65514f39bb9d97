"""U-Net on cell membranes: Ronneberger, Fischer, Brox, "U-Net: convolutional networks for
biomedical image segmentation", 2015, table 1: pixel error 6.11 % on the test slices of the ISBI
challenge of 2012, whose truth was never published.

Here 15 of 20 slices with published truth are trained on and the last 5 tested. The same network is
trained with torch, from the same weights, on the same batches. Where this differs from the paper,
so that it fits two cores: channels of 8 to 128 (64 to 1024), windows of 128 x 128 with zeros around
each convolution (tiles of 572 x 572 without), batch norm, Adam for 300 steps of 5 windows. Windows
are cut at random, flipped both ways and bent.

    python examples/unet_isbi.py                   three seeds on both sides: 4 minutes on one core
    python examples/unet_isbi.py --quick           does it run?

The folder MINIDL_DATA should have `isbi-membrane` (or `membrane/train`) with image/0.png and
label/0.png and so on.
"""

from __future__ import annotations

from typing import Any

from beside_torch import Pictures, Plan, compare, find_data, options

from minidl.data import ISBIMembranes, joint
from minidl.data.transforms import Normalize
from minidl.models.segmentation.unet import UNet

WINDOW = 128
WIDTHS = (8, 16, 32, 64, 128)


def read(root: str, train: bool) -> list[tuple[Any, Any]]:
    """Pictures and class maps as arrays, normalised."""
    normalize = joint.ImageOnly(Normalize(ISBIMembranes.mean, ISBIMembranes.std))
    slices = ISBIMembranes(root, train, transform=normalize)
    return [(image.numpy(), mask.numpy()) for image, mask in slices]


def torchs() -> Any:
    from beside_torch.networks import UNet

    return UNet(2, 1, WIDTHS, dropout=0.5)


if __name__ == "__main__":
    args = options(__doc__, seeds=3)
    train, test = (find_data(lambda part=part: read(args.root, part)) for part in (True, False))
    windows = joint.Compose(
        [
            joint.RandomCrop(WINDOW),
            joint.RandomHorizontalFlip(),
            joint.RandomVerticalFlip(),
            joint.RandomElastic(4.0, border="reflect"),
        ]
    )
    plan = Plan(
        "U-Net",
        "8 to 128 channels, batch norm",
        build=lambda: UNet(2, 1, widths=WIDTHS, padding="same", batch_norm=True),
        twin=torchs,
        train=Pictures(train, windows),
        test=Pictures(test[:1] if args.quick else test),
        classes=ISBIMembranes.class_names,
        ignore_index=255,
        weight=None,
        epochs=1 if args.quick else 100,
        batch_size=5,
        lr=0.003,
        published={"pixel_error": 6.11},
    )
    compare("U-Net on ISBI membranes (Ronneberger et al. 2015, table 1)", [plan], args)

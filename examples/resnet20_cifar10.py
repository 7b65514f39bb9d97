"""ResNet-20 on CIFAR-10: He, Zhang, Ren, Sun, "Deep residual learning", 2015, table 6: 8.75 %.

The paper's schedule (section 4.2): 64,000 steps of 128 images, 164 epochs; SGD with momentum 0.9
and weight decay 0.0001; a rate of 0.1, divided by 10 after half and three quarters of them; images
padded by 4, cropped and flipped. It trains on 45,000 images and keeps 5,000 to choose by; here, as
by most who repeat it, all 50,000 are trained on and nothing is chosen.

For two cores there is a short schedule: 10 epochs, the rate along a cosine after one epoch of
warm-up, Nesterov's momentum, a weight decay of 0.0005.

    python examples/resnet20_cifar10.py            the paper's on a GPU, the short one without
    python examples/resnet20_cifar10.py --short    the short one
    python examples/resnet20_cifar10.py --paper    the paper's
    python examples/resnet20_cifar10.py --quick    does it run?

The files of CIFAR-10 (binary version) are looked for in the folder MINIDL_DATA; --download fetches
them.
"""

from minidl.training.recipes import RECIPES
from minidl.training.reproduce import options, reproduce

PAPER = RECIPES["resnet20"]
SHORT = PAPER.changed(
    epochs=10, schedule="cosine", warmup_epochs=1, nesterov=True, weight_decay=5e-4
)

if __name__ == "__main__":
    args = options(__doc__, seeds=3, short="10 epochs")
    reproduce(
        "ResNet-20 on CIFAR-10 (He et al. 2015, table 6), "
        + ("a short schedule" if args.short else "the paper's schedule"),
        [("ResNet-20", SHORT if args.short else PAPER)],
        {"ResNet-20": 8.75},
        args,
    )

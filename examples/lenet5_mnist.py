"""LeNet-5 on MNIST: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
recognition", 1998, section III.C and figure 9: 0.95 % of the 10,000 test digits wrong, 0.8 % when
trained on distorted digits, too.

Three networks: that of the paper (`variant="1998"`), and the modern form (max-pooling, ReLU), both
without distortions, as the 0.95 %; and the modern form with digits a little turned, moved and
resized, as the 0.8 %. The paper trains for 20 epochs; these, by momentum and a cosine, for 10.

    python examples/lenet5_mnist.py                three seeds: about 10 minutes on two cores
    python examples/lenet5_mnist.py --quick        does it run?

The four files of MNIST are looked for in the folder MINIDL_DATA; --download fetches them.
"""

from minidl.training.recipes import RECIPES
from minidl.training.reproduce import options, reproduce

PUBLISHED = {"LeNet-5 of 1998": 0.95, "LeNet-5": 0.95, "LeNet-5, distortions": 0.80}

DISTORTED = RECIPES["lenet5-mnist"]
PLAIN = DISTORTED.changed(augment="none")

if __name__ == "__main__":
    recipes = [
        # Its last layer gives squared distances, whose gradients are large.
        ("LeNet-5 of 1998", PLAIN.with_options(variant="1998").changed(lr=0.003)),
        ("LeNet-5", PLAIN),
        ("LeNet-5, distortions", DISTORTED),
    ]
    args = options(__doc__, seeds=3)
    reproduce("LeNet-5 on MNIST (LeCun et al. 1998, figure 9)", recipes, PUBLISHED, args)

"""BatchNorm folded into the convolution before it, in every network."""

import numpy as np
import pytest

import minidl as md
from minidl import nn

from .test_all_networks import NARROW

# Networks in which every BatchNorm is behind a convolution of its own. In others some stand before
# their convolution (DenseNet, pre-activation), behind a sum (NASNet) or in a part that evaluation
# leaves out (GoogLeNet's auxiliary classifiers).
WHOLE = {
    *("bagnet", "efficientnet", "inception_resnet_v2", "inception_v2", "inception_v3"),
    *("inception_v4", "mobilenet_v1", "mobilenet_v2", "preact_original", "resnet_cifar"),
    *("resnet of basic blocks", "resnet of bottlenecks", "resnet_d with squeeze-excitation"),
    *("resnext", "resnext_cifar", "se_resnet", "shufflenet_v1", "shufflenet_v2", "vgg_bn"),
    *("wide_resnet", "xception"),
}


def norms(net):
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    return [path for path, m in net.named_modules() if isinstance(m, kinds)]


def test_networks_that_are_folded_whole_are_known():
    assert not WHOLE - set(NARROW)


@pytest.mark.parametrize("name", NARROW)
def test_a_network_with_folded_batchnorm_gives_equal_outputs(name):
    case = NARROW[name]
    net = case.build().eval()
    rng = np.random.default_rng(0)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.data[...] = rng.normal(0, 0.3, module.num_features)
            module.running_var.data[...] = rng.uniform(0.5, 2, module.num_features)
            module.weight.data[...] = rng.uniform(0.5, 1.5, module.num_features)
            module.bias.data[...] = rng.normal(0, 0.3, module.num_features)
    x = md.tensor(rng.normal(size=(2, *case.shape)).astype(np.float32))
    folded = nn.utils.fold_batchnorm(net, x[:1])
    assert not (name in WHOLE and norms(folded))
    with md.no_grad():
        expected, actual = net(x).data, folded(x).data
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())

"""Networks written with torch: the same layers as minidl's, and the same scores and gradients."""

import numpy as np
import pytest

import minidl as md
from minidl.models.segmentation.fcn import FCN
from minidl.models.segmentation.segnet import SegNetBasic
from minidl.models.segmentation.unet import UNet

from ...models.segmentation import shake

NARROW = {"convs": (2, 1, 3, 1, 2), "widths": (4, 5, 6, 7, 8), "hidden": 9, "dropout": 0.0}

PAIRS = {
    "unet": (
        lambda: UNet(3, 2, widths=(4, 6, 8), padding="same", batch_norm=True, dropout=0.0),
        lambda theirs: theirs.UNet(3, 2, (4, 6, 8), dropout=0.0),
        (2, 2, 24, 32),
    ),
    "segnet_basic": (
        lambda: SegNetBasic(5, width=6, stages=3),
        lambda theirs: theirs.SegNetBasic(5, 6, stages=3),
        (2, 3, 21, 26),
    ),
    "fcn8s": (
        lambda: FCN(5, 8, **NARROW),
        lambda theirs: theirs.FCN8s(5, **NARROW),
        (2, 3, 45, 70),
    ),
}


@pytest.fixture
def theirs():
    pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    import beside_torch.networks

    return beside_torch.networks


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_weights_fit_and_scores_and_gradients_agree(name, training, theirs):
    import torch

    build, twin, shape = PAIRS[name]
    ours = shake(build()).train(training)
    net = twin(theirs).train(training)
    net.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in ours.state_dict().items()})
    fixed = {k for k, p in ours.named_parameters() if not p.requires_grad}
    assert fixed == {k for k, p in net.named_parameters() if not p.requires_grad}
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    scores, expected = ours(md.tensor(x)), net(torch.from_numpy(x))
    assert scores.shape == expected.shape
    highest = expected.detach().abs().max().item()
    np.testing.assert_allclose(scores.data, expected.detach().numpy(), rtol=0, atol=1e-4 * highest)
    cotangent = rng.normal(size=scores.shape).astype(np.float32)
    (scores * md.tensor(cotangent)).sum().backward()
    (expected * torch.from_numpy(cotangent)).sum().backward()
    gradients = {k: p.grad.numpy() for k, p in net.named_parameters() if p.grad is not None}
    largest = max(np.abs(g).max() for g in gradients.values())
    for k, p in ours.named_parameters():
        if k not in fixed:
            np.testing.assert_allclose(
                p.grad.data, gradients[k], rtol=1e-3, atol=1e-5 * largest, err_msg=k
            )


@pytest.mark.parametrize("stages", [2, 5])
def test_unet_has_dropout_at_the_end_of_the_way_down(stages, theirs):
    import torch

    torch.manual_seed(0)
    widths = [4 * 2**i for i in range(stages)]
    net = theirs.UNet(2, 1, widths, dropout=0.5)
    found = []
    net.head.register_forward_hook(lambda module, args, out: found.append(out))
    x = torch.randn(1, 1, 32, 32)
    net.train()(x), net(x)
    assert (found[0] != found[1]).any()
    net.eval()(x), net(x)
    assert (found[2] == found[3]).all()

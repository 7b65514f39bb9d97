"""A training step of each network on the stand-in for CuPy: no hidden wait, the CPU's result."""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, optim
from minidl.backend import of
from minidl.models.classification.alexnet import AlexNetOf2012
from minidl.models.classification.efficientnet import EfficientNet
from minidl.models.classification.inception_v2 import InceptionV2
from minidl.models.classification.shufflenet_v2 import ShuffleNetV2
from minidl.nn.utils import clip_grad_norm_

NETWORKS = {
    "lenet1989": (models.lenet1989, (3, 1, 16, 16)),
    "alexnet of 2012": (
        lambda: AlexNetOf2012(10, widths=(4, 4, 4, 4, 4), hidden=8, pooled=1),
        (2, 3, 63, 63),
    ),
    "inception_v2": (
        lambda: InceptionV2(
            10,
            stem=(4, 4, 6),
            table={"3c": (0, 2, 4, 2, 3, "max", 0), "4a": (3, 2, 4, 2, 3, "avg", 2)},
        ),
        (2, 3, 32, 32),
    ),
    "lenet5": (models.lenet5, (3, 1, 28, 28)),
    "lenet5 of 1998": (lambda: models.lenet5("1998"), (3, 1, 28, 28)),
    "efficientnet": (
        lambda: EfficientNet(10, setting=((1, 3, 1, 8, 1), (3, 5, 1, 8, 2)), first_channels=8),
        (2, 3, 16, 16),
    ),
    "mobilenet_v2": (lambda: models.mobilenet_v2(10, width_mult=0.1), (2, 3, 32, 32)),
    "shufflenet_v2": (lambda: ShuffleNetV2((2, 1, 1), (4, 8, 8, 16, 16), 10), (2, 3, 32, 32)),
    "mlp": (models.mlp, (3, 1, 28, 28)),
    "resnet20": (models.resnet20, (2, 3, 8, 8)),
    "resnet20 with projections": (lambda: models.resnet20(shortcut="B"), (2, 3, 8, 8)),
    "resnet50d": (lambda: models.resnet50d(10, width=8, groups=2, se=True), (2, 3, 64, 64)),
}


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", NETWORKS)
def test_training_steps_there_are_training_steps_here(name, device):
    make, shape = NETWORKS[name]
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=shape), rng.integers(0, 10, shape[0])
    here = make().double()
    there = copy.deepcopy(here).to(device)
    losses = []
    for net, place in ((here, "cpu"), (there, device)):
        md.manual_seed(0)  # dropout draws the same bits there
        optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
        ema = optim.EMA(net, 0.9, warmup=True)
        x, y = md.tensor(images, device=place), md.tensor(labels, device=place)
        for _ in range(2):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            ema.update()
        losses.append(float(of(loss.data).to_host(loss.data)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-8)
    state = there.state_dict()
    for path, x in here.state_dict().items():
        host = of(state[path].data).to_host(state[path].data)
        np.testing.assert_allclose(host, x.data, rtol=1e-6, atol=1e-9, err_msg=path)
        assert state[path].device == device


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_stays_float32_in_a_training_step(name):
    make, shape = NETWORKS[name]
    net = make()
    rng = np.random.default_rng(0)
    x = md.tensor(rng.normal(size=shape).astype(np.float32))
    y = md.tensor(rng.integers(0, 10, shape[0]))
    seen = []

    def note(event):
        tensors = [t for t in (*event.inputs, *event.outputs) if isinstance(t, md.Tensor)]
        seen.extend((event.op, str(t.dtype)) for t in tensors if t.is_floating_point())

    optimizer = optim.Adam(net.parameters())
    with md.autograd.listen(note):
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
    optimizer.step()
    assert len(seen) > 20
    assert [pair for pair in seen if pair[1] != "float32"] == []
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float32)}

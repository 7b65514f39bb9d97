"""GoogLeNet: sizes, cost and auxiliary classifiers of the paper."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.googlenet import (
    TABLE_1,
    GoogLeNet,
    GoogLeNetOutputs,
    NaiveInception,
    inception,
)


def counted(**arguments):
    with nn.init.skip_init():
        return models.googlenet(**arguments)


def test_stages_have_the_sizes_and_the_cost_of_table_1():
    net = counted(variant="2014", aux_logits=False)
    rows = {row.path: row for row in nn.summary(net, (1, 3, 224, 224), depth=1).rows}
    table = {  # stage -> output size, millions of operations
        "inception3a": ((256, 28, 28), 128),
        "inception3b": ((480, 28, 28), 304),
        "inception4a": ((512, 14, 14), 73),
        "inception4b": ((512, 14, 14), 88),
        "inception4c": ((512, 14, 14), 100),
        "inception4d": ((528, 14, 14), 119),
        "inception4e": ((832, 14, 14), 170),
        "inception5a": ((832, 7, 7), 54),
        "inception5b": ((1024, 7, 7), 71),
        "fc": ((1000,), 1),
    }
    for name, (shape, millions) in table.items():
        assert rows[name].shapes == [(1, *shape)]
        if name == "inception5a":  # of 51 million after its own filters: 4e's at a quarter the size
            millions = 49 * (832 * (256 + 160 + 32 + 128) + 9 * 160 * 320 + 25 * 32 * 128) / 1e6
        assert rows[name].multiply_adds / 1e6 == pytest.approx(millions, abs=1.0)
    assert rows["maxpool1"].shapes == [(1, 64, 56, 56)]
    assert rows["maxpool2"].shapes == [(1, 192, 28, 28)]
    second = rows["conv2"].multiply_adds + rows["conv3"].multiply_adds
    assert second / 1e6 == pytest.approx(360, abs=1.0)


def test_response_normalisation_stands_where_figure_3_has_it():
    """After the first pooling, before the second."""
    net = GoogLeNet(3, "2014", False, stem=(4, 4, 6), table={"3a": (4, 2, 4, 2, 4, 2)}).eval()
    order = []
    for name, module in net.named_children():
        module.register_forward_hook(lambda *_, name=name: order.append(name))
    net(md.zeros(1, 3, 64, 64))
    stem = ["conv1", "maxpool1", "norm1", "conv2", "conv3", "norm2", "maxpool2"]
    assert order == [*stem, "inception3a", "dropout", "fc"]
    assert isinstance(net.norm1, nn.LocalResponseNorm)
    assert isinstance(net.norm2, nn.LocalResponseNorm)


def test_its_last_blocks_are_the_last_that_are_called():
    assert nn.utils.blocks(counted())[-3:] == [["inception5a"], ["inception5b"], ["fc"]]


def test_a_naive_module_puts_three_convolutions_and_the_maxima_side_by_side():
    torch = pytest.importorskip("torch")
    conv = torch.nn.functional.conv2d
    module = NaiveInception(3, 2, 4, 5)
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 7)).astype(np.float32)
    with md.no_grad():
        actual = module(md.tensor(x)).data
    y = torch.tensor(x)
    parts = []
    for number, padding in ((1, 0), (2, 1), (3, 2)):
        layer = getattr(module, f"branch{number}").conv
        weight, bias = torch.tensor(layer.weight.data), torch.tensor(layer.bias.data)
        parts.append(torch.relu(conv(y, weight, bias, padding=padding)))
    parts.append(torch.nn.functional.max_pool2d(y, 3, 1, 1))
    np.testing.assert_allclose(actual, torch.cat(parts, 1).numpy(), rtol=1e-4, atol=1e-5)


def test_it_does_one_and_a_half_billion_multiply_adds():
    net = counted(variant="2014", aux_logits=False)
    found = nn.summary(net, (1, 3, 224, 224), depth=1)
    # "a computational budget of 1.5 billion multiply-adds" (section 1) with 34 million for the
    # first convolution, which are those of a separable one (table 1); a whole one takes 118.
    first = next(row for row in found.rows if row.path == "conv1").multiply_adds
    assert first == 112 * 112 * 7 * 7 * 3 * 64
    assert found.multiply_adds == pytest.approx(1.5e9, rel=0.06)
    assert found.multiply_adds - first + 34e6 == pytest.approx(1.502e9, rel=0.005)


def test_torchvisions_form_costs_what_its_documentation_says():
    found = nn.summary(counted(), (1, 3, 224, 224))  # in evaluation: without auxiliary classifiers
    assert found.multiply_adds == pytest.approx(1.498e9, rel=0.0005)


def test_reducing_makes_an_inception_module_cheaper_than_the_naive_one():
    # 3a on its input of 192x28x28
    row = TABLE_1["3a"]
    n1, reduce3, n3, reduce5, n5, proj = row
    with nn.init.skip_init():
        naive = NaiveInception(192, n1, n3, n5)
        reduced = inception(192, row, batch_norm=False)
    shape = (1, 192, 28, 28)
    cost_naive = nn.summary(naive, shape).multiply_adds
    cost_reduced = nn.summary(reduced, shape).multiply_adds
    assert cost_naive == 784 * 192 * (n1 + 9 * n3 + 25 * n5)
    assert cost_reduced == 784 * (
        192 * (n1 + reduce3 + reduce5 + proj) + 9 * reduce3 * n3 + 25 * reduce5 * n5
    )
    assert cost_naive / cost_reduced == pytest.approx(2.4, abs=0.1)
    x = md.zeros(*shape)
    assert naive(x).shape == (1, 64 + 128 + 32 + 192, 28, 28)  # the maps of the input on top
    assert reduced(x).shape == (1, 256, 28, 28)


def test_naive_modules_one_after_the_other_cost_ever_more():
    costs, channels = [], 192
    for row in (TABLE_1["3a"], TABLE_1["3b"]):
        with nn.init.skip_init():
            module = NaiveInception(channels, row[0], row[2], row[4])
        found = nn.summary(module, (1, channels, 28, 28))
        costs.append(found.multiply_adds)
        channels = found.rows[0].shapes[0][1]
    assert channels == 192 + 64 + 128 + 32 + 128 + 192 + 96
    assert costs[1] > 3.5 * costs[0]
    assert costs[1] / 304e6 > 4  # against 3b of table 1


TABLE = {"3a": (2, 2, 3, 1, 2, 1), "4a": (2, 2, 3, 1, 2, 1), "4d": (2, 2, 3, 1, 2, 3)}


@pytest.mark.parametrize(("variant", "size"), [("torchvision", 96), ("2014", 224)])
def test_both_auxiliary_classifiers_train_and_vanish_in_evaluation(variant, size):
    net = GoogLeNet(5, variant, stem=(2, 2, 3), table=TABLE, aux=(2, 64))
    x = md.randn(2, 3, size, size)
    outputs = net(x)
    assert isinstance(outputs, GoogLeNetOutputs)
    assert outputs._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [output.shape for output in outputs] == [(2, 5)] * 3
    for name, output in (("aux1", outputs.aux_logits1), ("aux2", outputs.aux_logits2)):
        net.zero_grad()
        output.sum().backward(retain_graph=True)
        reached = {n.split(".")[0] for n, p in net.named_parameters() if p.grad is not None}
        assert name in reached
        assert "fc" not in reached
        # the first classifier stands before 4d, the second after it
        assert ("inception4d" in reached) == (name == "aux2")
    assert net.eval()(x).shape == (2, 5)
    alone = GoogLeNet(5, variant, False, stem=(2, 2, 3), table=TABLE)
    assert alone(x).shape == (2, 5)
    assert not any(name.startswith("aux") for name, _ in alone.named_parameters())


def test_the_form_of_2014_has_no_batch_norm_but_response_normalisation():
    net = counted(variant="2014", aux_logits=False)
    kinds = [type(m).__name__ for m in net.modules()]
    assert "BatchNorm2d" not in kinds
    assert kinds.count("LocalResponseNorm") == 2
    assert net.inception3a.branch3[1].conv.kernel_size == (5, 5)
    assert counted().inception3a.branch3[1].conv.kernel_size == (3, 3)
    assert net.dropout.p == 0.4
    assert counted().dropout.p == 0.2
    with pytest.raises(ValueError, match="'torchvision' or '2014', not '2015'"):
        models.googlenet(variant="2015")


def test_initial_scores_of_2014_are_neither_nothing_nor_everything():
    # Twenty-two layers without batch norm: the signal must come through.
    net = models.googlenet(num_classes=10, variant="2014", aux_logits=False).eval()
    with md.no_grad():
        scores = net(md.randn(2, 3, 64, 64)).data
    assert 0.01 < np.abs(scores).max() < 100

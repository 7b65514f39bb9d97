"""Gradients with respect to the picture and their relatives."""

import numpy as np
import pytest
import torch

import minidl as md
from minidl import nn
from minidl.explain import (
    deconvnet,
    guided_backprop,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smoothgrad,
)

from .small import pictures, pooled, some_digits, traces, trained

ALL = [saliency, input_x_gradient, smoothgrad, integrated_gradients, deconvnet, guided_backprop]


def linear(seed=0):
    rng = np.random.default_rng(seed)
    layer = nn.Linear(6, 3)
    layer.weight.data[...] = rng.standard_normal((3, 6))
    return layer, md.tensor(rng.standard_normal((4, 6), dtype=np.float32))


def rms(x):
    return float(np.sqrt((x.data**2).mean()))


@pytest.mark.parametrize("explain", ALL)
@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_a_look_has_the_pictures_shape_dtype_and_device_and_changes_nothing(explain, device):
    net, x = pooled().to(device), pictures().to(device)
    net.train()
    net[1].eval()
    before, bits = traces(net.cpu()), x.cpu().data.tobytes()
    net.to(device)
    with md.no_grad():
        found = explain(net, x, 1)
    assert (found.shape, found.dtype, found.device) == (x.shape, x.dtype, x.device)
    assert not found.requires_grad
    assert rms(found.cpu()) > 0
    assert traces(net.cpu()) == before
    assert x.cpu().data.tobytes() == bits
    assert not x.requires_grad


@pytest.mark.parametrize("explain", ALL)
def test_pictures_of_a_batch_do_not_see_each_other(explain):
    net, x = pooled(), pictures()
    options = {"noise": 0.0} if explain is smoothgrad else {}
    whole = explain(net, x, [0, 1, 2, 1], **options)
    alone = [explain(net, x[n : n + 1], k, **options).data[0] for n, k in enumerate([0, 1, 2, 1])]
    np.testing.assert_allclose(whole.data, np.stack(alone), rtol=1e-4, atol=1e-6)


def test_the_gradient_of_a_linear_model_is_its_weight():
    layer, x = linear()
    chosen = [2, 0, 1, 1]
    np.testing.assert_array_equal(saliency(layer, x, chosen).data, layer.weight.data[chosen])
    product = input_x_gradient(layer, x, chosen)
    np.testing.assert_array_equal(product.data, layer.weight.data[chosen] * x.data)
    scores = layer(x).data[np.arange(4), chosen] - layer.bias.data[chosen]
    np.testing.assert_allclose(product.data.sum(1), scores, rtol=1e-5)


def test_without_a_target_the_best_class_is_explained():
    layer, x = linear()
    best = layer(x).data.argmax(1)
    assert len(set(best)) > 1
    for target in (None, best, md.tensor(best), best.tolist()):
        np.testing.assert_array_equal(saliency(layer, x, target).data, layer.weight.data[best])


def test_the_noise_of_smoothgrad_averages_out_where_the_model_is_linear():
    layer, x = linear()
    found = smoothgrad(layer, x, 1, samples=3)
    np.testing.assert_allclose(found.data, np.stack([layer.weight.data[1]] * 4), rtol=1e-6)


def test_smoothgrad_is_the_mean_gradient_at_noisy_inputs():
    """x^2 has the gradient 2 x: over the samples that is 2 (x + mean of the noise)."""

    class Square(nn.Module):
        def forward(self, x):
            return (x**2).sum(1, keepdim=True)

    x = md.tensor(np.float32([[0.0, 1.0, 4.0], [1.0, 1.5, 2.0]]))
    drawn = np.random.default_rng(5)
    noise = np.mean([drawn.standard_normal((2, 3), np.float32) for _ in range(7)], axis=0)
    found = smoothgrad(Square(), x, samples=7, noise=0.1, generator=np.random.default_rng(5))
    expected = 2 * (x.data + 0.1 * noise * np.float32([[4.0], [1.0]]))  # ranges 4 and 1
    np.testing.assert_allclose(found.data, expected, rtol=1e-5)


def test_smoothgrad_is_less_noisy_than_the_gradient():
    """Neighbouring pixels have more alike numbers."""
    net, (x, _) = trained(), some_digits(20)

    def roughness(g):
        return rms(g[:, :, 1:] - g[:, :, :-1]) / rms(g)

    assert roughness(smoothgrad(net, x)) < 0.9 * roughness(saliency(net, x))


def test_integrated_gradients_add_up_to_the_difference_of_the_scores():
    net, (x, y) = trained(), some_digits(20)
    for baseline in (0.0, x.flip(0)):
        found = integrated_gradients(net, x, y, baseline=baseline, steps=100)
        with md.no_grad():
            start = net(x * 0 + baseline).data[np.arange(20), y]
            end = net(x).data[np.arange(20), y]
        difference = end - start
        np.testing.assert_allclose(found.data.sum((1, 2, 3)), difference, atol=0.02 * np.ptp(end))
    # The gradient alone is far from it.
    short = input_x_gradient(net, x - x.flip(0), y).data.sum((1, 2, 3)) - difference
    assert np.abs(short).mean() > 0.05 * np.ptp(end)


def test_integrated_gradients_of_a_square_are_exact():
    """Of x^2 from a to b: b^2 - a^2; the middle of a step is right for a linear gradient."""

    class Square(nn.Module):
        def forward(self, x):
            return (x**2).sum(1, keepdim=True)

    a, b = np.float32([[1.0, -2.0]]), np.float32([[3.0, 5.0]])
    found = integrated_gradients(Square(), md.tensor(b), baseline=md.tensor(a), steps=3)
    np.testing.assert_allclose(found.data, b**2 - a**2, rtol=1e-6)


def by_hand():
    """Two units, h = relu(W x), and two classes, s = V h; x makes one unit active."""
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    net[0].weight.data[...] = [[1.0, 2.0], [3.0, -1.0], [-5.0, 1.0]]
    net[2].weight.data[...] = [[2.0, -3.0, 7.0]]
    return net, md.tensor(np.float32([[1.0, 1.0]]))  # W x = (3, 2, -4): the third is off


def test_what_relus_pass_down_in_a_network_of_two_layers_by_hand():
    net, x = by_hand()
    # From above come (2, -3, 7). The gradient passes where W x > 0: (2, -3, 0).
    np.testing.assert_array_equal(saliency(net, x).data, [[2 * 1 - 3 * 3, 2 * 2 + 3 * 1]])
    # The deconvnet passes what is positive: (2, 0, 7).
    np.testing.assert_array_equal(deconvnet(net, x).data, [[2 * 1 - 7 * 5, 2 * 2 + 7 * 1]])
    # Guided: both, (2, 0, 0).
    np.testing.assert_array_equal(guided_backprop(net, x).data, [[2, 4]])


@pytest.mark.parametrize("explain", [saliency, deconvnet, guided_backprop])
def test_networks_with_pooling_equal_torch_with_the_same_rules(explain):
    md.manual_seed(1)
    ours = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 4, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            passed = grad if explain is saliency else grad.clamp(min=0)
            return passed if explain is deconvnet else passed * (x > 0)

    class TheirRelu(torch.nn.Module):
        def forward(self, x):
            return Rule.apply(x)

    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3), TheirRelu(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(6, 4, 2),
        TheirRelu(), torch.nn.Flatten(), torch.nn.Linear(16, 3),
    )  # fmt: skip
    theirs.load_state_dict({k: torch.tensor(v.data) for k, v in ours.state_dict().items()})
    x = pictures()
    leaf = torch.tensor(x.data, requires_grad=True)
    theirs(leaf)[:, 2].sum().backward()
    np.testing.assert_allclose(explain(ours, x, 2).data, leaf.grad, rtol=1e-4, atol=1e-6)


def test_other_passes_keep_their_own_relus():
    """The rule belongs to one pass: a graph made before, and the next one, have the gradient."""
    net, x = by_hand()
    before = net(x.requires_grad_()).sum()
    expected = saliency(net, x).data
    guided_backprop(net, x)
    (found,) = md.grad(before, x)
    np.testing.assert_array_equal(found.data, expected)
    np.testing.assert_array_equal(saliency(net, x).data, expected)


def test_the_gradient_of_trained_digits_lies_on_the_digit():
    net, (x, _) = trained(), some_digits()
    on = np.ones(x.shape, bool)  # within two pixels of ink
    for i in range(-2, 3):
        for j in range(-2, 3):
            on &= np.roll(x.data, (i, j), (2, 3)) < 0.3
    on = ~on
    for explain in (saliency, guided_backprop, deconvnet, smoothgrad):
        found = np.abs(explain(net, x).data)
        assert found[on].mean() > 1.5 * found[~on].mean(), explain.__name__


@pytest.mark.parametrize("explain", ALL)
def test_what_cannot_be_explained_is_refused(explain):
    net, x = by_hand()
    name = explain.__name__
    with pytest.raises(TypeError, match=f"{name}: the input is a floating-point Tensor, got nd"):
        explain(net, x.data)
    with pytest.raises(TypeError, match="floating-point Tensor, got int64"):
        explain(net, md.tensor([[1, 2]]))
    with pytest.raises(ValueError, match=r"a batch \(N, ...\), got \(2,\)"):
        explain(net, x[0])
    with pytest.raises(ValueError, match="classes are from 0 to 0, got 1 to 1"):
        explain(net, x, 1)
    with pytest.raises(ValueError, match="classes are from 0 to 0, got -1"):
        explain(net, x, -1)
    for wrong in ([0, 0], 0.5, [[0]]):
        with pytest.raises(ValueError, match=r"target is a class or \(1,\) integers"):
            explain(net, x, wrong)
    with pytest.raises(ValueError, match=r"scores \(N, classes\), not shape \(4, 5, 8, 9\)"):
        explain(pooled()[:3], pictures())


def test_rules_of_relus_need_relus_and_means_need_parts():
    layer, x = linear()
    for explain in (deconvnet, guided_backprop):
        with pytest.raises(ValueError, match="there is no ReLU in the model"):
            explain(layer, x)
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        smoothgrad(layer, x, samples=0)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        integrated_gradients(layer, x, steps=0)
    with pytest.raises(ValueError, match="baseline does not broadcast"):
        integrated_gradients(layer, x, baseline=md.zeros(2, 4, 6))

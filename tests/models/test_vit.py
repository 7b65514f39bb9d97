"""Vision Transformers."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.vit import VisionTransformer, interpolate_embeddings

from ..torchvision_oracle import torchvision


def tiny(image_size=32, **options):
    return VisionTransformer(image_size, 8, 2, 2, 16, 32, num_classes=5, **options)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # those that parameters.csv does not have; by the table in the file
        ("vit_ti_16", 5_717_416),
        ("vit_ti_32", 6_131_560),
        ("vit_s_16", 22_050_664),
        ("vit_s_32", 22_878_952),
        ("vit_l_32", 306_535_400),
    ],
)
def test_other_sizes_have_their_numbers_of_parameters(name, parameters):
    with nn.init.skip_init():
        net = getattr(models, name)()
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_a_picture_becomes_patches_and_a_class_token():
    with nn.init.skip_init():
        rows = md.summary(models.vit_ti_16(), (1, 3, 224, 224)).rows
    shapes = {row.path: row.shapes[0] for row in rows}
    assert shapes["conv_proj"] == (1, 192, 14, 14)
    assert shapes["encoder.layers.encoder_layer_11"] == (1, 197, 192)
    assert shapes["heads"] == (1, 1000)


def test_multiply_adds_of_the_base_size():
    """Patches, four matrices of D x D and two of D x 4 D for each token, scores and means."""
    with nn.init.skip_init():
        found = md.summary(models.vit_b_16(), (1, 3, 224, 224)).multiply_adds
    t, d = 197, 768
    layer = t * (4 * d * d + 2 * d * 4 * d) + 2 * t * t * d
    assert found == pytest.approx(196 * 768 * d + 12 * layer + d * 1000, rel=0.01)


def test_a_new_network_knows_nothing():
    assert not tiny().eval()(md.randn(2, 3, 32, 32)).data.any(), "the last layer is 0 at first"


def test_without_positions_the_order_of_patches_does_not_matter():
    net = tiny().eval()
    nn.init.normal_(net.heads.head.weight)
    x = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    swapped = x.copy()
    swapped[..., :8, :8], swapped[..., 8:16, :8] = x[..., 8:16, :8], x[..., :8, :8]
    assert np.abs(net(md.tensor(x)).data - net(md.tensor(swapped)).data).max() > 1e-3
    nn.init.zeros_(net.encoder.pos_embedding)
    np.testing.assert_allclose(net(md.tensor(x)).data, net(md.tensor(swapped)).data, atol=1e-5)


def test_a_representation_layer_stands_before_the_last():
    names = [name for name, _ in tiny(representation_size=7).heads.named_parameters()]
    assert names == ["pre_logits.weight", "pre_logits.bias", "head.weight", "head.bias"]


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_positions_for_another_size_are_torchvisions(mode):
    state = tiny(32).state_dict()
    new = interpolate_embeddings(48, 8, state, mode)
    tiny(48).load_state_dict(new)
    vision = torchvision().models.vision_transformer
    import torch

    theirs = vision.interpolate_embeddings(
        48, 8, {k: torch.tensor(np.asarray(v)) for k, v in state.items()}, mode
    )
    assert new.keys() == theirs.keys()
    for name, values in new.items():
        np.testing.assert_allclose(np.asarray(values), theirs[name].numpy(), atol=1e-6)


def test_positions_of_the_same_size_stay_and_the_heads_can_be_left_out():
    state = tiny(32).state_dict()
    same = interpolate_embeddings(32, 8, state)
    assert all(same[name] is state[name] for name in state)
    without = interpolate_embeddings(48, 8, state, reset_heads=True)
    assert state.keys() - without.keys() == {"heads.head.weight", "heads.head.bias"}
    state["encoder.pos_embedding"] = md.zeros(1, 12, 16)
    with pytest.raises(ValueError, match="11 patches, which do not form a square"):
        interpolate_embeddings(48, 8, state)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="image_size 30 must be a multiple of patch_size 8"):
        tiny(30)
    with pytest.raises(ValueError, match=r"must be \(N, C, 32, 32\), got \(2, 3, 40, 40\)"):
        tiny()(md.zeros(2, 3, 40, 40))

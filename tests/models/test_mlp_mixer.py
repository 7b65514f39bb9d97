"""MLP-Mixer."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.mlp_mixer import MixerBlock, MlpMixer


@pytest.mark.parametrize(
    ("name", "millions", "exact"),
    [  # table 1, and counted by hand: there are no other sources of the last digits
        ("mixer_s32", 19, 19_104_624),
        ("mixer_b32", 60, 60_293_428),
        ("mixer_l32", 206, 206_939_264),
        ("mixer_l16", 207, 208_196_168),
    ],
)
def test_other_sizes_have_the_parameters_of_table_1(name, millions, exact):
    with nn.init.skip_init():
        count = sum(p.numel() for p in getattr(models, name)().parameters())
    assert count == exact
    assert abs(count / 1e6 - millions) < 1.25, "the table's count leaves out the last layer"


def test_a_table_of_patches_and_channels_goes_through():
    with nn.init.skip_init():
        rows = md.summary(models.mixer_s16(), (1, 3, 224, 224)).rows
    shapes = {row.path: row.shapes[0] for row in rows}
    assert shapes["stem"] == (1, 196, 512)
    assert shapes["blocks.7.mlp_tokens"] == (1, 512, 196)
    assert shapes["blocks.7.mlp_tokens.fc1"] == (1, 512, 256)
    assert shapes["blocks.7.mlp_channels.fc1"] == (1, 196, 2048)


def test_one_half_of_a_block_mixes_tokens_and_the_other_channels():
    block = MixerBlock(6, 4, 8, 12).eval()
    x = md.randn(1, 4, 6)
    changed = md.tensor(x.data.copy())
    changed.data[0, 1] += np.random.default_rng(0).normal(size=6).astype(np.float32)
    both = np.abs(block(x).data - block(changed).data).max(-1)[0]
    assert (both > 1e-6).all(), "a token tells all others"
    nn.init.zeros_(block.mlp_tokens.fc2.weight)
    alone = np.abs(block(x).data - block(changed).data).max(-1)[0]
    assert (alone > 1e-6).tolist() == [False, True, False, False]


def test_pictures_of_another_size_are_refused():
    net = MlpMixer(3, 1, 8, 6, 16, 4, 8)
    with pytest.raises(ValueError, match=r"must be \(N, C, 8, 8\), got \(1, 3, 12, 12\)"):
        net(md.zeros(1, 3, 12, 12))
    with pytest.raises(ValueError, match="image_size 10 must be a multiple of patch_size 4"):
        MlpMixer(3, 1, 8, 6, 16, 4, 10)

"""The scripts on segmentation run, and print and draw what they say."""

import re

import pytest
from PIL import Image

from .test_examples import ROOT, run

EXAMPLES = ROOT / "examples"


def printed_by(script, *args, cwd):
    result = run(EXAMPLES / script, "--quick", *args, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_windows_one_by_one_and_at_once_have_the_same_scores(tmp_path):
    printed = printed_by("sliding_window.py", "--seeds", "2", cwd=tmp_path)
    lines = re.findall(
        r"^(AlexNet|N4).* s +[0-9.]+ s +([0-9.]+) x +([0-9.]+) x +([0-9.e-]+)$", printed, re.M
    )
    assert [name for name, *_ in lines] == ["AlexNet"] * 2 + ["N4"] * 2
    for _, speed_up, adds, apart in lines:
        assert float(speed_up) > 2
        assert float(adds) > 6
        assert 0 < float(apart) < 1e-4
    assert "more than 5 x" in printed
    assert re.search(r"sliding window +31,841,214,005,248\n", printed)


@pytest.mark.slow
def test_strides_are_compared_and_drawn(tmp_path):
    printed = printed_by("fcn_strides.py", "--seeds", "1", cwd=tmp_path)
    for name, published in (("FCN-32s", "59.4"), ("FCN-16s", "62.4"), ("FCN-8s", "62.7")):
        assert re.search(rf"^{name} +{published} % +\d+\.\d\d % ", printed, re.M)
    assert re.search(r"^FCN-32s, as long +- +\d", printed, re.M)
    assert Image.open(tmp_path / "runs/fcn_strides-quick/fcn_strides.png").size[0] > 600


@pytest.mark.slow
@pytest.mark.data
def test_unet_s_script_prints_published_and_both_sides(tmp_path, data_folder):
    printed = printed_by("unet_isbi.py", "--seeds", "1", cwd=tmp_path)
    assert re.search(r"published +6\.11 %", printed)
    assert re.search(r"minidl +\d+\.\d\d % ", printed)


@pytest.mark.slow
@pytest.mark.data
def test_camvid_s_script_trains_both_networks(tmp_path, data_folder):
    printed = printed_by("segnet_fcn_camvid.py", "--seeds", "1", cwd=tmp_path)
    assert re.search(r"published +- +46\.30 %", printed)
    assert printed.count("IoU of classes, minidl: sky ") == 2
    assert "FCN-8s, one convolution a stage" in printed


@pytest.mark.parametrize("script", ["unet_isbi.py", "segnet_fcn_camvid.py"])
def test_missing_data_end_with_a_message(script, tmp_path):
    result = run(EXAMPLES / script, "--quick", "--root", str(tmp_path), cwd=tmp_path)
    assert result.returncode == 1
    assert "--root or MINIDL_DATA names the folder of the data" in result.stderr
    assert "Traceback" not in result.stderr

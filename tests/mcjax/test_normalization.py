import numpy as np
import pytest

from mcjax.data import augmentation


@pytest.mark.parametrize(
    ("text", "channels", "words"),
    [
        ("imagenet", 1, "'imagenet' for 1-channel images"),
        ("0.1,0.2/1,1", 3, "as many means and deviations"),
        ("image", 3, "imagenet or cifar"),
        ("0.1", 1, "MEAN,.../STD"),
        ("nan/1", 1, "MEAN,.../STD"),
        ("0/0", 1, "must be positive"),
        ("0/inf", 1, "must be positive"),
    ],
)
def test_wrong_normalization(text, channels, words):
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        augmentation.fixed_statistics(text, channels)


def test_named_normalizations():
    mean, std = augmentation.fixed_statistics("imagenet", 3)
    np.testing.assert_array_equal(mean, np.float32([0.485, 0.456, 0.406]))
    np.testing.assert_array_equal(std, np.float32([0.229, 0.224, 0.225]))
    assert augmentation.fixed_statistics("cifar", 3)[0][0] == np.float32(0.4914)

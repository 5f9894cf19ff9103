"""torchvision's ResNet and VGG: parameters and images of any size."""

import jax
import jax.numpy as jnp
import pytest

from mcjax.flax import models
from tests.mcjax.flax.networks import count, shapes_of

# Parameters with 1,000 classes, from torchvision's documentation of its weights.
COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "torchvision_vgg11_bn": 132_868_840,
    "torchvision_vgg16": 138_357_544,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_torchvisions(name):
    assert count(name, (1, 64, 64, 3), num_classes=1000) == COUNTS[name]


@pytest.mark.parametrize("name", ["resnet18", "torchvision_vgg11"])
def test_images_of_any_size_and_classes_of_any_number(name):
    """The same weights take images of 224, of 32 and of 75x50 pixels."""
    settings = {"num_classes": 100, "width": 1 / 64}
    model = models.create(name, **settings)
    variables = shapes_of(name, (1, 224, 224, 3), **settings)
    for size in ((32, 32), (75, 50)):
        images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        logits = jax.eval_shape(lambda v, x: model.apply(v, x, False), variables, images)
        assert logits.shape == (2, 100)

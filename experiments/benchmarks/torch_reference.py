"""The same work in PyTorch, written from the definitions, for `experiments.benchmark`.

A VGG, a polygonal chain with one bend by functional interpolation, its training step with the L2
penalty on the curve's point, and the metrics of one point of a surface.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

Stages = Sequence[Sequence[int]]


Params = dict[str, torch.Tensor]


def vgg(
    stages: Stages, dense: Sequence[int], shape: tuple[int, int, int], dropout: float
) -> nn.Module:
    """The network of mcjax's `VGG` without batch norm, for images of ``shape`` (H, W, C)."""
    height, width, channels = shape
    layers: list[nn.Module] = []
    for stage in stages:
        for features in stage:
            layers += [nn.Conv2d(channels, features, 3, padding=1), nn.ReLU(inplace=True)]
            channels = features
        layers.append(nn.MaxPool2d(2))
        height, width = height // 2, width // 2
    layers.append(nn.Flatten())
    inputs = height * width * channels
    for features in dense:
        layers += [nn.Dropout(dropout), nn.Linear(inputs, features), nn.ReLU(inplace=True)]
        inputs = features
    network = nn.Sequential(*layers, nn.Linear(inputs, 10))
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


class Reference:
    """A network's control points and data, in one memory format.

    Args:
      make: makes a network with random parameters.
      images: ``[N, H, W, C]``, float32, normalized.
      labels: ``[N]``, int32.
      channels_last: the memory format.
      half: whether networks compute in bfloat16, by autocast.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        images: np.ndarray,
        labels: np.ndarray,
        channels_last: bool,
        half: bool = False,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.half = half
        torch.backends.cudnn.allow_tf32 = half  # float32 means float32
        layout = torch.channels_last if channels_last else torch.contiguous_format
        networks = [make().to(self.device, memory_format=layout) for _ in range(3)]
        self.network = networks[0]
        self.start, self.bend, self.end = (
            {name: p.detach().clone() for name, p in n.named_parameters()} for n in networks
        )
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2))
        self.images = pixels.to(self.device).contiguous(memory_format=layout)
        self.labels = torch.from_numpy(labels).long().to(self.device)
        self.random = np.random.default_rng(0)
        self.evaluation_batch = 100

    def steps(self, count: int, batch: int, on_curve: bool) -> None:
        """Takes SGD steps with momentum, on the curve's bend or on a plain network."""
        trained = {name: p.clone().requires_grad_() for name, p in self.bend.items()}
        optimizer = torch.optim.SGD(trained.values(), lr=1e-3, momentum=0.9)
        self.network.train()
        order = torch.from_numpy(self.random.permutation(len(self.labels))).to(self.device)
        for step in range(count):
            rows = order[step * batch % (len(order) - batch + 1) :][:batch]
            point = self._curve(self.random.random(), trained) if on_curve else trained
            loss = self._loss(point, self.images[rows], self.labels[rows])
            penalty = sum((p**2).sum() for p in point.values())
            optimizer.zero_grad(set_to_none=True)
            (loss + 0.5 * 5e-4 * penalty).backward()
            optimizer.step()
        self._wait()

    def choose_evaluation_batch(self, sizes: Sequence[int]) -> None:
        """Chooses the fastest of these batch sizes for evaluation."""
        took = {}
        for self.evaluation_batch in sizes:
            self.surface_point()
            began = time.perf_counter()
            for _ in range(3):
                self.surface_point()
            took[self.evaluation_batch] = time.perf_counter() - began
        self.evaluation_batch = min(took, key=lambda size: took[size])

    def surface_point(self) -> tuple[float, float]:
        """Mean loss and accuracy at a combination of the three control points."""
        batch = self.evaluation_batch
        self.network.eval()
        with torch.no_grad():
            points = zip(self.start.values(), self.bend.values(), self.end.values(), strict=True)
            point = {
                n: 0.2 * a + 0.5 * b + 0.3 * c
                for n, (a, b, c) in zip(self.start, points, strict=True)
            }
            losses, right = 0.0, 0.0
            for first in range(0, len(self.labels), batch):
                labels = self.labels[first : first + batch]
                logits = self._logits(point, self.images[first : first + batch])
                losses += nn.functional.cross_entropy(logits, labels, reduction="sum")
                right += (logits.argmax(1) == labels).sum()
            return float(losses) / len(self.labels), float(right) / len(self.labels)

    def _curve(self, t: float, bend: Params) -> Params:
        """``2 (t theta + (0.5 - t) w_a)`` for ``t <= 0.5``; by symmetry for ``t > 0.5``."""
        end, s = (self.start, t) if t <= 0.5 else (self.end, 1 - t)
        return {name: 2 * s * p + (1 - 2 * s) * end[name] for name, p in bend.items()}

    def _logits(self, point: Params, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return functional_call(self.network, point, (images,)).float()

    def _loss(self, point: Params, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self._logits(point, images), labels)

    def _wait(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

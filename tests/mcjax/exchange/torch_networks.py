"""Garipov's and torchvision's networks in PyTorch, restated: the same names, any width.

Needs torch.

    python -m tests.mcjax.exchange.torch_networks

writes those files of tests/mcjax/exchange/recorded/ that are missing: weights, a few images and
PyTorch's logits, so that imports are compared with PyTorch even where it is not installed.
"""

import re
from pathlib import Path

import numpy as np
import torch
from safetensors import torch as safetensors
from torch import nn
from torch.nn import functional as F

RECORDED = {
    "vgg16_bn": (1 / 32, 64),
    "preresnet8": (0.25, 32),
    "wrn16x4": (1 / 16, 32),
    "resnet18": (1 / 32, 45),
    "torchvision_vgg11_bn": (1 / 64, 64),  # 2x2 pixels are averaged to 7x7
}
"""Width and pixels of a side by the model's name here."""
FOLDER = Path(__file__).parent / "recorded"


def conv(inputs, outputs, size=3, stride=1, bias=False):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=bias)


class VGG(nn.Module):
    def __init__(self, stages, dense, normed, classes, pixels):
        super().__init__()
        self.layer_blocks = nn.ModuleList()
        channels = 3
        for stage in stages:
            block = nn.ModuleList()
            for features in stage:
                block.append(conv(channels, features, bias=True))
                if normed:
                    block.append(nn.BatchNorm2d(features))
                channels = features
            self.layer_blocks.append(block)
        inputs = channels * (pixels // 2 ** len(stages)) ** 2
        layers = []
        for features in dense:
            layers += [nn.Dropout(), nn.Linear(inputs, features), nn.ReLU()]
            inputs = features
        self.classifier = nn.Sequential(*layers, nn.Linear(inputs, classes))

    def forward(self, x):
        for block in self.layer_blocks:
            for i, layer in enumerate(block):
                x = layer(x)
                if i + 1 == len(block) or isinstance(block[i + 1], nn.Conv2d):
                    x = F.relu(x)
            x = F.max_pool2d(x, 2)
        return self.classifier(x.flatten(1))


class PreActivated(nn.Module):
    """Batch norm, ReLU and convolution, some times over, beside a shortcut."""

    def __init__(self, inputs, convolutions, stride):
        super().__init__()
        channels = inputs
        for i, (features, size, step) in enumerate(convolutions, 1):
            self.add_module(f"bn{i}", nn.BatchNorm2d(channels))
            self.add_module(f"conv{i}", conv(channels, features, size, step))
            channels = features
        self.count, self.downsample = len(convolutions), None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(conv(inputs, channels, 1, stride))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"conv{i}")(F.relu(getattr(self, f"bn{i}")(y)))
        return y + (x if self.downsample is None else self.downsample(x))


class PreResNet(nn.Module):
    def __init__(self, depth, planes, classes):
        super().__init__()
        bottleneck = depth >= 44
        self.conv1, channels = conv(3, planes[0]), planes[0]
        for stage, p in enumerate(planes, 1):
            blocks = []
            for i in range((depth - 2) // (9 if bottleneck else 6)):
                stride = 2 if stage > 1 and i == 0 else 1
                two = [(p, 3, stride), (p, 3, 1)]
                three = [(p, 1, 1), (p, 3, stride), (4 * p, 1, 1)]
                convolutions = three if bottleneck else two
                blocks.append(PreActivated(channels, convolutions, stride))
                channels = convolutions[-1][0]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.bn, self.fc = nn.BatchNorm2d(channels), nn.Linear(channels, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(F.avg_pool2d(F.relu(self.bn(x)), 8).flatten(1))


class Wide(nn.Module):
    def __init__(self, inputs, features, stride):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(features)
        self.conv1 = conv(inputs, features, bias=True)
        self.conv2 = conv(features, features, 3, stride, bias=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != features:
            self.shortcut = nn.Sequential(conv(inputs, features, 1, stride, bias=True))

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        return self.conv2(F.relu(self.bn2(y))) + self.shortcut(x)


class WideResNet(nn.Module):
    def __init__(self, depth, first, stages, classes):
        super().__init__()
        self.conv1, channels = conv(3, first, bias=True), first
        for stage, features in enumerate(stages, 1):
            strides = [1 if stage == 1 else 2] + [1] * ((depth - 4) // 6 - 1)
            blocks = []
            for stride in strides:
                blocks.append(Wide(channels, features, stride))
                channels = features
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.bn1, self.linear = nn.BatchNorm2d(channels), nn.Linear(channels, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.linear(F.avg_pool2d(F.relu(self.bn1(x)), 8).flatten(1))


class TorchvisionVGG(nn.Module):
    def __init__(self, stages, dense, normed, classes):
        super().__init__()
        layers, channels = [], 3
        for stage in stages:
            for features in stage:
                layers.append(conv(channels, features, bias=True))
                layers += [nn.BatchNorm2d(features), nn.ReLU()] if normed else [nn.ReLU()]
                channels = features
            layers.append(nn.MaxPool2d(2))
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(7)
        layers, inputs = [], channels * 49
        for features in dense:
            layers += [nn.Linear(inputs, features), nn.ReLU(), nn.Dropout()]
            inputs = features
        self.classifier = nn.Sequential(*layers, nn.Linear(inputs, classes))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class Residual(nn.Module):
    def __init__(self, inputs, convolutions, stride):
        super().__init__()
        channels, self.count, self.downsample = inputs, len(convolutions), None
        for i, (features, size, step) in enumerate(convolutions, 1):
            self.add_module(f"conv{i}", conv(channels, features, size, step))
            self.add_module(f"bn{i}", nn.BatchNorm2d(features))
            channels = features
        if stride != 1 or inputs != channels:
            shortcut = conv(inputs, channels, 1, stride), nn.BatchNorm2d(channels)
            self.downsample = nn.Sequential(*shortcut)

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(F.relu(y) if i > 1 else y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, depth, planes, small, classes):
        super().__init__()
        counts = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]
        channels = planes[0]
        self.conv1 = conv(3, channels, 3) if small else conv(3, channels, 7, 2)
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        for stage, (p, count) in enumerate(zip(planes, counts, strict=True), 1):
            blocks = []
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                two = [(p, 3, stride), (p, 3, 1)]
                three = [(p, 1, 1), (p, 3, stride), (4 * p, 1, 1)]
                convolutions = three if depth == 50 else two
                blocks.append(Residual(channels, convolutions, stride))
                channels = convolutions[-1][0]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def create(name, width=1.0, pixels=32, classes=7):
    """Garipov's or torchvision's network for a model's name here, weights and statistics random."""
    torch.manual_seed(len(name))

    def scaled(numbers):
        return [max(1, round(n * width)) for n in numbers]

    if "vgg" in name:
        counts = {"11": (1, 1, 2, 2, 2), "16": (2, 2, 3, 3, 3), "19": (2, 2, 4, 4, 4)}
        counts, normed = counts[re.search(r"\d+", name)[0]], name.endswith("_bn")
        stages = [scaled([c] * n) for c, n in zip((64, 128, 256, 512, 512), counts, strict=True)]
        if name.startswith("torchvision"):
            network = TorchvisionVGG(stages, scaled([4096, 4096]), normed, classes)
        else:
            network = VGG(stages, scaled([512, 512]), normed, classes, pixels)
    elif name.startswith("resnet"):
        depth = int(name.removeprefix("resnet").removesuffix("_cifar"))
        network = ResNet(depth, scaled([64, 128, 256, 512]), name.endswith("_cifar"), classes)
    elif name.startswith("preresnet"):
        network = PreResNet(int(name[len("preresnet") :]), scaled([16, 32, 64]), classes)
    else:
        depth, widen = map(int, name.removeprefix("wrn").split("x"))
        stages = scaled([c * widen for c in (16, 32, 64)])
        network = WideResNet(depth, *scaled([16]), stages, classes)
    return randomize(network)


def randomize(network):
    """Generic weights, biases and statistics."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.1)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return network.eval()


def images(pixels):
    """Two images, uint8 ``[2, pixels, pixels, 3]``."""
    rng = np.random.default_rng(pixels)
    return rng.integers(0, 256, (2, pixels, pixels, 3), dtype=np.uint8)


def logits(network, pictures):
    """Of images / 64 - 2, which float32 has exactly."""
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32)) / 64 - 2
    with torch.no_grad():
        return network(x).numpy()


def record():
    FOLDER.mkdir(exist_ok=True)
    missing = {n: v for n, v in RECORDED.items() if not (FOLDER / f"{n}.safetensors").exists()}
    for name, (width, pixels) in missing.items():
        network, x = create(name, width, pixels), images(pixels)
        expected = {"images": torch.from_numpy(x), "logits": torch.from_numpy(logits(network, x))}
        safetensors.save_file(network.state_dict() | expected, FOLDER / f"{name}.safetensors")


if __name__ == "__main__":
    record()

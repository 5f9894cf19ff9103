"""Times of a 3x3 convolution on CPU, by form; written by convolution_table --write."""

MILLISECONDS: dict[tuple[int, int, int], dict[str, float]] = {
    (32, 3, 64): {"direct": 20.7, "winograd": 59.3},
    (32, 3, 16): {"direct": 4.2, "winograd": 9.8},
    (32, 8, 8): {"direct": 18.1, "winograd": 10.9},
    (32, 16, 16): {"direct": 57.9, "winograd": 28.1},
    (32, 32, 32): {"direct": 159, "winograd": 77.4},
    (32, 64, 64): {"direct": 396, "winograd": 264},
    (16, 1, 32): {"direct": 0.536, "winograd": 1.62},
    (16, 16, 16): {"direct": 6.87, "winograd": 4.22},
    (16, 32, 32): {"direct": 24.7, "winograd": 12.2},
    (16, 128, 128): {"direct": 268, "winograd": 177},
    (8, 1, 32): {"direct": 0.191, "winograd": 0.39},
    (8, 8, 16): {"direct": 0.561, "winograd": 0.809},
    (8, 32, 32): {"direct": 3.8, "winograd": 3.01},
    (8, 256, 256): {"direct": 200, "winograd": 110},
    (4, 64, 64): {"direct": 2.7, "winograd": 2.25},
    (4, 512, 512): {"direct": 179, "winograd": 84.7},
    (2, 128, 128): {"direct": 2.52, "winograd": 1.87},
    (2, 512, 512): {"direct": 38.1, "winograd": 24.4},
    (1, 64, 64): {"direct": 0.0373, "winograd": 0.618},
    (1, 512, 512): {"direct": 1.28, "winograd": 23.4},
}
"""A step of batch 100 by (pixels a side, channels in, channels out); lower is better."""

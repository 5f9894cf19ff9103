"""Times of a 3x3 convolution on CPU, by form; written by convolution_table --write."""

MILLISECONDS: dict[tuple[int, int, int], dict[str, float]] = {
    (32, 3, 64): {"direct": 22.7, "winograd": 69.1},
    (32, 3, 16): {"direct": 7.21, "winograd": 16.2},
    (32, 8, 8): {"direct": 17.7, "winograd": 10.8},
    (32, 16, 16): {"direct": 50.7, "winograd": 25.1},
    (32, 32, 32): {"direct": 187, "winograd": 87.6},
    (32, 64, 64): {"direct": 408, "winograd": 260},
    (16, 1, 32): {"direct": 0.732, "winograd": 2.19},
    (16, 16, 16): {"direct": 9.45, "winograd": 5.93},
    (16, 32, 32): {"direct": 27.6, "winograd": 14.3},
    (16, 128, 128): {"direct": 269, "winograd": 156},
    (8, 1, 32): {"direct": 0.374, "winograd": 0.837},
    (8, 8, 16): {"direct": 1.18, "winograd": 1.05},
    (8, 32, 32): {"direct": 4.51, "winograd": 2.99},
    (8, 256, 256): {"direct": 234, "winograd": 110},
    (4, 64, 64): {"direct": 3.26, "winograd": 2.96},
    (4, 512, 512): {"direct": 177, "winograd": 149},
    (2, 128, 128): {"direct": 2.61, "winograd": 2.74},
    (2, 512, 512): {"direct": 49.4, "winograd": 29.7},
    (1, 256, 256): {"direct": 0.381, "winograd": 5.57},
}
"""A step of batch 100 by (pixels a side, channels in, channels out); lower is better."""

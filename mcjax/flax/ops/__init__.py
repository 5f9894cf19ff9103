"""Convolutions that are fast on CPU and GPU, and the layers of the networks."""

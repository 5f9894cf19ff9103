"""Convolutions and layers that are fast on CPU."""

"""Imports runs from other programs and exports runs to them."""

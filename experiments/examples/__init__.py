"""Worked examples of `mcjax.simple` with four ways to write a network."""

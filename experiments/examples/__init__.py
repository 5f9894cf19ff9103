"""Worked examples of `mcjax.api` with four ways to write a network."""

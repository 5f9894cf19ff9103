"""Measuring and drawing what was trained: surfaces, directions, ensembles."""

"""Objectives, the trainer and the evaluator: jax and optax, whatever library the model is from."""

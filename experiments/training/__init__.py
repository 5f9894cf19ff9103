"""Training as functions: the problem, the loop, modes, and curves."""

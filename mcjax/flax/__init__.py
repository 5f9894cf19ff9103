"""What knows Flax: the classifier objective, the paper's networks and their layers."""

"""Profiles, surfaces, Hessians and what else is computed about points of weight space."""

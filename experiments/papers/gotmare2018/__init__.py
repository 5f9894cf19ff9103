"""Gotmare et al. (2018): its runs, figures, and claims."""

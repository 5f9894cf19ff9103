"""Reproductions of papers: judging claims, reports, and jobs."""

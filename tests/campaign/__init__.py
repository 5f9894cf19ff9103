"""Campaigns against mcjax: kills, damage, full disks. See `__main__` for the command."""

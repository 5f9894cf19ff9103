"""What every command shares: flags, errors, signals, progress, processes."""

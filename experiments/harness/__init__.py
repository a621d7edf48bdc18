"""What runs every script: flags, sweeps, cells, run directories."""

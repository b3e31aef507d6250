"""Measures this machine: `make bench`."""

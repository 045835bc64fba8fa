"""Beside the real Ganglia programs of Debian 12, in a network of its own."""

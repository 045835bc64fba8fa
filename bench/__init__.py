"""Measurements beside a peer in the same run, printed as a ratio.  Nothing here passes or fails."""

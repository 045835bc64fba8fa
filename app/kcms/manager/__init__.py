"""The central manager of one cluster (K7): holds its jobs and spreads them over its nodes."""

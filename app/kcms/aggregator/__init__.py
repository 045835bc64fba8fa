"""The aggregator of the grid: polls the clusters, sums up, stores, serves."""

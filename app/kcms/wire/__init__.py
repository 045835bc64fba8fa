"""Wire formats of monitoring: Ganglia's packets and XML, and how the latter is fetched."""

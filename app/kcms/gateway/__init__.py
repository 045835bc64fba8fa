"""The gateway: local users reach the managers of the grid through its Unix socket."""

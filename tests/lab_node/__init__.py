"""The node daemon on a real host (systemd, cgroups, users), with a manager played by the test."""

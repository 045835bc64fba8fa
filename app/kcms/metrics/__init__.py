"""What is measured on a host, and when it is told."""

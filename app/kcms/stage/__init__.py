"""The files of users on their way between hosts of the grid, as the users."""

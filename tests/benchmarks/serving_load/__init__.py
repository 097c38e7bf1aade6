"""What loads a server, what it is compared with, and how the outcome is shown."""

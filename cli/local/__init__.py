"""The local stack: the real servers and the roles, started and supervised without Docker."""

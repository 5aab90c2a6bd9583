"""The commands that people use every day."""

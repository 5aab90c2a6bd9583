"""What a file looks like before it is imported: columns, proposals, rows that would pass."""

"""Bytes to rows: one module a format, all of them giving the chunks of `rows`."""

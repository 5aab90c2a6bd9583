"""Providers to change streams: address books and CRMs. None yet; files come in through `ingress`."""

"""The package tyk."""

from typing import List

__path__: List[str] = []  # its modules are found by turnbuckle.tyk.names alone

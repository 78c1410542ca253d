"""Plugins written for Tyk, unchanged: the modules they import, how they are loaded, and how their hooks are called."""

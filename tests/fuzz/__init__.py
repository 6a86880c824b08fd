"""Schemathesis' hooks and settings for the volume daemon's API."""

"""Brings events to those who wait for them."""

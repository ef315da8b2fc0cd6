"""Decoders, encoders, adapters and their losses."""

"""Sections: what a config may hold, field by field."""

"""Devices: the mesh, its rates, blocks of rows, nearest neighbours."""

"""Data as it lies on disks and hubs, one form a file: each reads a source into a `Raw`; the catalog picks the form."""

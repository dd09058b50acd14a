"""The page on which a person tries an artifact: files for a browser in `web/`, and who hands them out."""

"""Languages: tokenizers, and networks that speak."""

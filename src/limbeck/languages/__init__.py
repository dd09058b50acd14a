"""Causal language models: networks of token rows, their tokenizers, where they come from and how two of them fit."""

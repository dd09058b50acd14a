"""Servers that speak OpenAI's protocol: where they are, how they are asked, and what they have answered already."""

"""Runs a Limbeck artifact with numpy and ONNX Runtime alone; no torch, no network.

This release holds the name and the promise only: `load(path)` comes with the release that writes artifacts.
"""

__version__ = "0.1.0"

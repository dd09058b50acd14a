"""What a run is shipped as: the graph, the manifest, the golden rows, and the proof that they answer as torch does."""

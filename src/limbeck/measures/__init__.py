"""What a model costs: size and work (`complexity`), and time for an answer (`latency`)."""

"""The training loop and its parts: the plan, the step, the journal, the probe."""

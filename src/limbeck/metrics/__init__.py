"""What answers are worth: measures that several tasks share, in float64 on the CPU."""

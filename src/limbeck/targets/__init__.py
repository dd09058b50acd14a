"""What a teacher's answer can be compared with: one file for each form in which soft targets are kept.

An objective never touches the teacher's numbers. It asks `targets.divergence(kl, student.logits, temperature)`; the
kind of target decides over which symbols that is right. What a kind cannot answer rightly it refuses by name before
training starts (`protocol`). What a kind's answer is away from that over all symbols, `distance` says.
"""

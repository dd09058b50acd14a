"""What an artifact costs: bytes, work, memory, time and energy, money where prices are named, and when it pays back."""

"""What a run says to a person: the HTML report and the headline for the terminal, both from the same numbers."""

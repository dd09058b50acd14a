"""From text to things: objectives, models, teachers and tasks, found by the names of their files."""

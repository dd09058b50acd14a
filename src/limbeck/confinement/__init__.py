"""Running code that nobody has read: in a process of its own, without files, network, processes or much memory."""

"""Whether an artifact answers on this machine alone: barriers of the kernel, and what was seen behind them."""

"""Small networks to distil into, one family a file; each file's `build` makes a plain `nn.Module`."""

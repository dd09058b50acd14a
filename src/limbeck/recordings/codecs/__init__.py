"""Compact codecs: pure functions from arrays to bytes and back, which know nothing of files, shards or networks.

`index_sets` keeps the k symbols of each position, `log_probs` the values beside them and the tails, `draws` sampled
targets, `channels` features. `frames` is the one module that calls the entropy coder.
"""

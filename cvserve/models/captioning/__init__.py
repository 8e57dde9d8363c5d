"""Holds the captioning networks: each is a module that registers itself. See `captioner` for their parts."""

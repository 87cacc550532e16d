"""The other systems, one file each: only what that paper adds to the shared parts.

`engine.build` imports those that are networks, which registers them with mmdet.
"""

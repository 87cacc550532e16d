"""The other systems, one file each: what that paper adds to the shared parts."""

"""Speed of the structured layers: the contest, the peers, and the ceilings of the machine."""

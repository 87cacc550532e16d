"""130k: OPMask's own length, 130,000 iterations of batch 16, learning rate divided by 10 after 120,000.

Where 1x is given in iterations (all scales but `paper`), it is 130/90 of it: Detectron's 1x has 90,000.
"""

schedule = dict(length=130 / 90, iterations=130_000, batch=16, drops=[120 / 130])

"""Measure live decoding: what a frame costs, and what a delay gains; ``python -m benchmarks.live`` runs it.

* ``speed``: time per call, of one stream and of many, against decoding the last two seconds anew at every frame.
* ``delay``: accuracy and bands by the frames that a decision may wait, beside the limit that exact inference sets.
"""

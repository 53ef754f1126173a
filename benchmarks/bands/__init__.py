"""Solid bands, and what they cost: the CRF layers against what people use instead, on real recordings.

``python -m benchmarks.bands`` trains the same encoder under every method, with the same budget, seeds and splits,
tunes every method's knob on validation recordings, and writes ``benchmarks/results/bands.json``. One file per step:

============  ==========================================================================================
`tasks`       the tasks: recordings of training, validation and test people, at the rate they are used
`training`    one network: encoder, loss and penalty in, class scores of validation and test recordings out
`methods`     the methods: which network, which decoder, which knob
`cells`       one method on one task with one encoder and seed; tuned, scored, and kept on disk
`cost`        how long a run takes, estimated before it begins
`report`      tables, paired differences and ranks, of whatever cells there are
`figures`     barcodes and critical-difference plots
============  ==========================================================================================
"""

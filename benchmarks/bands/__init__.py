"""Compare the CRF layers with common alternatives on real recordings.

``python -m benchmarks.bands`` trains the same encoder under every method, with the same budget, seeds and splits. It
tunes the knob of every method on validation recordings and writes ``benchmarks/results/bands.json``. Each step has one
file:

============  ==========================================================================================
`tasks`       the tasks: training, validation and test recordings of different people, at the rate used
`training`    one network: from encoder, loss and penalty to scores of validation and test recordings
`methods`     the methods: the network, the decoder and the knob of each
`cells`       one method on one task with one encoder and seed: tuned, scored and stored on disk
`cost`        an estimate of the time of a run before it begins
`report`      tables, paired differences and ranks of the finished cells
`figures`     barcodes and critical-difference plots
============  ==========================================================================================
"""

"""Encoders frame by frame on a CPU: LSTM, GRU, temporal convolutions and linear maps, in an order that never changes.

A matrix product of PyTorch rounds differently for one frame and for a hundred. Here the result of a frame depends only
on the weights and on the frames up to it, to the last bit: not on how many frames a call has, and not on the other
recordings. Sums run over the inputs in their order; the outputs lie in the SIMD lanes.
"""

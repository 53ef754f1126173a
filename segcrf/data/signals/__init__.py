"""Formats of signals, one file each: arrays, sound, and recordings of medical and laboratory devices.

Each module opens a file as sheets, tables with a column per channel, and a column ``time`` in seconds if the file
states a rate. Packages for a format are imported when such a file is read.
"""

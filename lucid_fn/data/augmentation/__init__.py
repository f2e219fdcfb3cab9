"""Random changes of images: functions of a key and a batch.

Each image of a batch gets its own draw. Shape and dtype are kept, so that pixels may be
bytes, or floats after `normalize`: there 0, with which borders and holes are filled, is
the mean and not black. `random_resized_crop` alone changes the size, and `mixup` and
`cutmix` change the labels too.
"""

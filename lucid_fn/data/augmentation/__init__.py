"""Random image augmentation: functions of a key and a batch of images.

Each image of a batch gets its own draw. Shape and dtype are kept, so images may be
uint8 or floats. Borders and holes are filled with 0, which after `normalize` is the
mean color, not black. `random_resized_crop` alone changes the size, and `mixup` and
`cutmix` change the labels too.
"""

"""1x: 12 epochs, learning rate divided by 10 after epochs 8 and 11."""

schedule = dict(length=1, drops=[8 / 12, 11 / 12])  # length in 1x; drops as shares of the training

"""3x: three times 1x; the released code repeats the dataset 3 times and keeps 12 "epochs" with drops after 9 and 11."""

schedule = dict(length=3, drops=[9 / 12, 11 / 12])  # length in 1x; drops as shares of the training

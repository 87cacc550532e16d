"""Using a trained model: on images of one's own, and as a folder to hand on."""

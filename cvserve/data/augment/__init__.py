"""Changes training images at random: pixels, boxes, masks and label maps together. NumPy and OpenCV only."""

"""cvserve.v1.VisionService: encoded images in, typed results out."""

"""Sa2VA-i without Ray, from a checkpoint directory to masks; the public class is ``pipeline.model.sa2va.Sa2VA``."""

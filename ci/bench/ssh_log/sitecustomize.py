"""On PYTHONPATH of the lab's SSH servers, and of nothing else: lets paramiko log what the bench counts, to stderr."""

import logging
import os

if "PINWHEEL_LAB_SERVER" in os.environ:
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("paramiko.transport").setLevel(logging.DEBUG)

"""The fleet under fire: real workers, a real scheduler, real copies; who kills them, and who counts from outside."""

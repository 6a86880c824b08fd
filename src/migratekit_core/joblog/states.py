"""What a job or a step can be."""

from __future__ import annotations

RUNNING, COMPLETED, FAILED = "running", "completed", "failed"
INTERRUPTED = "interrupted"
"""Its process was stopped or killed."""
CANCELLED = "cancelled"
"""Somebody asked it to stop (`jobs cancel`)."""
STATES = (RUNNING, COMPLETED, FAILED, INTERRUPTED, CANCELLED)

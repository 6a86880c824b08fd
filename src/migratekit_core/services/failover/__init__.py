"""Failover: rehearsed (`rehearsal`), cut over (`live`), cleaned up (`cleanup`)."""

"""Reconcile: what CloudStack, Linux, the exporter and the rows say of each volume is compared, again and again.

`look` gathers, `compare` judges, `repair` puts right what can be put right without losing anything, and `reconciler`
does all three periodically and remembers what it found.
"""

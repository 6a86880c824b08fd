"""The lab's CloudStack management server: an HTTP double that keeps the real one's rules.

It is test code. It answers the API as the reference describes it, runs asynchronous jobs, keeps every volume as a
sparse raw file and refuses what a CloudStack with KVM hosts refuses. Start it with `python -m tests.lab.cloudstack`.
"""

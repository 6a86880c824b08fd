"""The tests, the lab and the benchmark."""

import os

# MariaDB, HAProxy and mke2fs are in sbin, which is not on everybody's PATH.
os.environ["PATH"] = os.pathsep.join(filter(None, [os.environ.get("PATH"), "/usr/local/sbin:/usr/sbin:/sbin"]))

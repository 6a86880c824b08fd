# Every target installs what it needs first (tests/lab/setup.sh), on a Debian 12 machine with root or sudo.
SHELL := /bin/bash
PYTHON := .venv/bin/python
# MariaDB, HAProxy and mke2fs are in sbin, which is not on everybody's PATH; under `env -i` there is none at all.
export PATH := $(if $(PATH),$(PATH):)/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Nor is there a HOME, which Go keeps its modules in; tests/lab/setup.sh takes the same one.
export HOME := $(if $(HOME),$(HOME),$(CURDIR)/.cache/home)

.PHONY: help setup demo lab lab-down test bench matrix check clean

help:
	@echo 'make demo      run the whole migration in the lab, and check it (UNDER=vcenter-both: see tests/lab/conditions.py)'
	@echo 'make test      run every check and test'
	@echo 'make bench     measure beside nbdcopy and govc, and write .bench/results.json'
	@echo 'make matrix    kill every part of a copy at random moments and write .bench/faults.json'
	@echo 'make lab       keep the lab up (make lab-down stops it)'
	@echo 'make check     format, lint, types, import contracts'

setup:
	@tests/lab/setup.sh

demo: setup
	@exec $(PYTHON) -m tests.lab demo $(UNDER)

lab: setup
	@exec $(PYTHON) -m tests.lab up

lab-down:
	@if [ -x $(PYTHON) ]; then exec $(PYTHON) -m tests.lab down; else echo 'lab: was not up'; fi

test: setup
	@exec $(PYTHON) -m nox

check: setup
	@exec $(PYTHON) -m nox -s lint types contracts

bench: setup
	@exec $(PYTHON) -m tests.bench

matrix: setup
	@exec $(PYTHON) -m tests.faults

clean: lab-down
	rm -rf .venv .lab .bench .cache .nox dist site

# Thin faces of the scripts, which work without make as well.

.PHONY: help demo test bench chaos

help:
	@echo 'make demo    build conveyor and watch two scripted agents work through one ledger (under a minute)'
	@echo 'make test    everything that must pass before a change goes in'
	@echo 'make bench   the figures of the documentation, measured on this machine'
	@echo '             (ARGS="--against OLD" compares with another program or revision)'
	@echo 'make chaos   the long form of the crash suite'
	@echo
	@echo 'Each installs what it needs and does not find; scripts/ has the same without make.'

demo:
	@scripts/demo

test:
	@scripts/test

bench:
	@scripts/bench $(ARGS)

chaos:
	@scripts/chaos

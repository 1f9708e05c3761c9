# The commands of this project; `make` alone lists them. What is built for the VM (kernel, root file
# system, bindgen) is kept outside the checkout, see scripts/lib.sh.

KDIR ?= /lib/modules/$(shell uname -r)/build

# bindgen in xtables-ext's build script loads this libclang.
export LIBCLANG_PATH ?= /usr/lib/llvm-19/lib

help:
	@echo 'make demo              the main job, shown in the VM: a default-drop gateway at work'
	@echo 'make test              every test of the default kernel'
	@echo 'make test-kernels      the cases in the VM on every kernel of scripts/kernels, by each entry;'
	@echo '                       KERNELS="debian-6.1 debian-7:rust" for just these'
	@echo 'make kmod [KDIR=...]   kmod/xt_dnp3.ko for a kernel, given its build tree (default: the running one)'
	@echo 'make ext               target/release/libxt_dnp3.so'
	@echo 'make vm                a shell in the VM, module loaded, extension installed'
	@echo 'make lint              cargo fmt, cargo clippy, shellcheck'
	@echo 'make setup             install what all of this needs (the others do so themselves)'
	@echo 'make clean             remove what was built in the checkout'

demo:
	scripts/setup
	scripts/vm --prepare
	tests/demo

test:
	scripts/test

test-kernels:
	scripts/test-kernels $(KERNELS)

kmod:
	scripts/setup module
	scripts/kmod $(KDIR)

ext:
	scripts/setup extension
	cargo build --release --package xtables-ext --target-dir target

vm:
	@scripts/vm || [ $$? -lt 124 ]

lint:
	scripts/setup lint
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	rustfmt --edition 2021 --check kmod/*.rs
	shellcheck -x $$(git ls-files scripts kmod xtables-ext tests .ci | xargs grep -lE '^#!/bin/(ba)?sh|^# shellcheck shell=')

setup:
	scripts/setup

clean:
	rm -rf target
	git clean -fdXq kmod

.PHONY: help demo test test-kernels kmod ext vm lint setup clean

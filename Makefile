# The commands of this project; `make` alone lists them. What is built for the VM (kernel, root file
# system, bindgen) is kept outside the checkout, see scripts/lib.sh. `make install` is at the end.

KDIR ?= /lib/modules/$(shell uname -r)/build

# bindgen in xtables-ext's build script loads this libclang.
export LIBCLANG_PATH ?= /usr/lib/llvm-19/lib

# Where `make cli` builds.
TARGET ?= target

help:
	@echo 'make demo              the main job, shown in the VM: a default-drop gateway at work'
	@echo 'make test              every test of the default kernel, and some on the debug kernel'
	@echo 'make test-kernels      the cases in the VM on every kernel of scripts/kernels, by each entry;'
	@echo '                       KERNELS="debian-6.1 debian-7:rust" for just these'
	@echo 'make test-debug        the cases in the VM on the debug kernel, and that it reports what is planted'
	@echo 'make kmod [KDIR=...]   kmod/xt_dnp3.ko for a kernel, given its build tree (default: the running one)'
	@echo 'make ext               target/release/libxt_dnp3.so'
	@echo 'make cli               target/release/dnp3fw, its manual pages and completions'
	@echo 'make install           put what these two made, man pages, header and boot unit into the system:'
	@echo '                       DESTDIR, PREFIX (/usr/local), KDIR; install-PART for one part, the parts being'
	@echo '                       $(parts)'
	@echo 'make uninstall         remove what install puts there, by the same variables; uninstall-PART'
	@echo 'make install-cli       what make cli made; uninstall-cli'
	@echo 'make install-dkms      the sources for DKMS, in place of a module for one kernel; uninstall-dkms'
	@echo 'make deb               Debian packages in target/deb: xt-dnp3-dkms, iptables-dnp3 and dnp3fw'
	@echo 'make test-packages     install, upgrade and remove these in a clean Debian, modules built by DKMS'
	@echo 'make test-long         what tests have a sample of at full length, two hours; figures: tests/RELIABILITY.md'
	@echo 'make fuzz              the fuzz targets, for TIME=600 seconds; the figures go to tests/RELIABILITY.md'
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

test-debug:
	scripts/test-debug

kmod:
	scripts/setup module
	scripts/kmod $(KDIR)

ext:
	scripts/setup extension
	cargo build --release --package xtables-ext --target-dir target

# Its manual pages and completions come from the program itself.
cli:
	cargo build --locked --release --package dnp3fw --target-dir $(TARGET)
	rm -rf $(TARGET)/cli && mkdir -p $(TARGET)/cli/man $(TARGET)/cli/completions
	$(TARGET)/release/dnp3fw man $(TARGET)/cli/man
	$(TARGET)/release/dnp3fw completions bash >$(TARGET)/cli/completions/dnp3fw
	$(TARGET)/release/dnp3fw completions zsh >$(TARGET)/cli/completions/_dnp3fw
	$(TARGET)/release/dnp3fw completions fish >$(TARGET)/cli/completions/dnp3fw.fish

deb:
	scripts/deb

test-packages:
	scripts/setup
	cargo test --package dnp3-tests --test packages_installed -- --nocapture --test-threads=1

test-long:
	scripts/setup
	scripts/long

fuzz:
	scripts/setup extension fuzz
	scripts/fuzz

vm:
	@scripts/vm || [ $$? -lt 124 ]

lint:
	scripts/setup lint extension fuzz
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz --release --all-targets -- -D warnings
	rustfmt --edition 2021 --check kmod/*.rs
	shellcheck -x $$(git ls-files scripts kmod xtables-ext tests .ci | xargs grep -lE '^#!/bin/(ba)?sh|^# shellcheck shell=')

setup:
	scripts/setup

clean:
	rm -rf target
	git clean -fdXq kmod

# Installing. Nothing is built here and nothing fetched: what is missing is named. The variables are
# GNU's, in the kernel's capitals; DESTDIR is put before all of them.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
INCLUDEDIR ?= $(PREFIX)/include
# Where the kernel's ynl looks for specifications of netlink, with PREFIX=/usr.
YNLDIR ?= $(PREFIX)/share/ynl/specs
DOCDIR ?= $(PREFIX)/share/doc/xt_dnp3
CLIDIR ?= $(PREFIX)/share/dnp3fw
# Where each shell looks for completions.
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
COMPLETIONDIRS = $(BASHDIR) $(ZSHDIR) $(FISHDIR)
# Looked into by systemd with /usr and with /usr/local.
UNITDIR ?= $(PREFIX)/lib/systemd/system
# Where iptables looks, whatever PREFIX is.
XTLIBDIR ?= $(shell pkg-config --variable=xtlibdir xtables 2>/dev/null)
release = $(shell cat $(KDIR)/include/config/kernel.release 2>/dev/null)
# Before what came with the kernel; DKMS has updates/dkms.
MODULEDIR ?= /lib/modules/$(release)/updates
DKMSDIR ?= /usr/src/xt_dnp3-$(version)
version = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)

MODULE ?= kmod/xt_dnp3.ko
EXTENSION ?= target/release/libxt_dnp3.so
INSTALL ?= install

parts = module extension man header boot recipes
pages = $(sort xtables-ext/libxt_dnp3.8 xtables-ext/xt_dnp3.7 $(wildcard xtables-ext/boot/*.[1-8]))
recipes = $(wildcard xtables-ext/recipes/*)
# The plain entry's sources and the Rust entry's, without what Kbuild makes of them.
dkms_sources = $(filter-out %_generated.rs %.mod.c, LICENSE $(wildcard include/linux/netfilter/*.h \
	$(addprefix kmod/,Kbuild* *.sh *.c *.h *.rs *.undefined xt/*.rs)) \
	$(shell find core/src -name '*.rs'))

# $(call wanted,FILE,HOW): stop where there is no FILE, and say HOW it comes into being.
wanted = @[ -e '$(1)' ] || { echo 'make $@: there is no $(1): $(2)' >&2; exit 1; }
# $(call named,VARIABLE,WHY): stop where a directory could not be told.
named = @[ -n '$($(1))' ] || { echo 'make $@: $(2)' >&2; exit 1; }
no_release = $(KDIR) is no kernel build tree: it has no include/config/kernel.release; KDIR= names another
no_xtlibdir = pkg-config does not know xtables: install libxtables-dev, or say XTLIBDIR=

install: $(addprefix install-,$(parts))
uninstall: $(addprefix uninstall-,$(parts))

install-module:
	$(call wanted,$(MODULE),make kmod builds it)
	$(call named,release,$(no_release))
	@for_=$$(modinfo -F vermagic $(MODULE)) && for_=$${for_%% *} && [ "$$for_" = '$(release)' ] || { \
		echo "make $@: $(MODULE) is for the kernel $$for_, and that is not the kernel $(release) of $(KDIR):" \
			'make kmod KDIR=$(KDIR)' >&2; exit 1; }
	$(INSTALL) -d $(DESTDIR)$(MODULEDIR)
	$(INSTALL) -m 644 $(MODULE) $(DESTDIR)$(MODULEDIR)/xt_dnp3.ko
	$(if $(DESTDIR),,depmod $(release))

uninstall-module:
	$(call named,release,$(no_release))
	rm -f $(DESTDIR)$(MODULEDIR)/xt_dnp3.ko
	$(if $(DESTDIR),,depmod $(release))

install-extension:
	$(call wanted,$(EXTENSION),make ext builds it)
	$(call named,XTLIBDIR,$(no_xtlibdir))
	$(INSTALL) -d $(DESTDIR)$(XTLIBDIR)
	$(INSTALL) -m 644 $(EXTENSION) $(DESTDIR)$(XTLIBDIR)/libxt_dnp3.so

uninstall-extension:
	$(call named,XTLIBDIR,$(no_xtlibdir))
	rm -f $(DESTDIR)$(XTLIBDIR)/libxt_dnp3.so

install-man:
	$(INSTALL) -d $(sort $(foreach page,$(pages),$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(page)))))
	for page in $(pages); do \
		$(INSTALL) -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/ || exit; \
	done
	sed -i 's|=[^ ]*/\(dnp3\\-firewall \)|=$(subst -,\\-,$(SBINDIR))/\1|' $(DESTDIR)$(MANDIR)/man8/dnp3-firewall.8

uninstall-man:
	rm -f $(foreach page,$(pages),$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))

install-header:
	$(INSTALL) -d $(DESTDIR)$(INCLUDEDIR)/linux/netfilter
	$(INSTALL) -m 644 include/linux/netfilter/xt_dnp3.h $(DESTDIR)$(INCLUDEDIR)/linux/netfilter/
	$(INSTALL) -d $(DESTDIR)$(YNLDIR)
	$(INSTALL) -m 644 include/netlink/xt_dnp3.yaml $(DESTDIR)$(YNLDIR)/

uninstall-header:
	rm -f $(DESTDIR)$(INCLUDEDIR)/linux/netfilter/xt_dnp3.h $(DESTDIR)$(YNLDIR)/xt_dnp3.yaml
	$(call emptied,$(YNLDIR))

# The unit names the script by its path. It is neither enabled nor started: that is the admin's word.
# What is for /etc is an example, for the same reason.
install-boot:
	$(INSTALL) -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(DOCDIR)/boot
	$(INSTALL) -m 755 xtables-ext/boot/dnp3-firewall $(DESTDIR)$(SBINDIR)/
	$(call placed,dnp3-firewall.service,$(UNITDIR))
	$(call placed,netfilter-persistent.conf,$(DOCDIR)/boot)
	$(INSTALL) -m 644 xtables-ext/boot/config $(DESTDIR)$(DOCDIR)/boot/

# $(call placed,FILE,DIR): a file of the boot part, with the script's path in it.
placed = $(INSTALL) -m 644 xtables-ext/boot/$(1) $(DESTDIR)$(2)/ && \
	sed -i 's|=[^ ]*/dnp3-firewall |=$(SBINDIR)/dnp3-firewall |' $(DESTDIR)$(2)/$(1)

uninstall-boot:
	rm -f $(DESTDIR)$(SBINDIR)/dnp3-firewall $(DESTDIR)$(UNITDIR)/dnp3-firewall.service \
		$(addprefix $(DESTDIR)$(DOCDIR)/boot/,netfilter-persistent.conf config)
	$(call emptied,$(DOCDIR)/boot $(DOCDIR))

# $(call emptied,DIRS): remove directories of our own, unless something else is in them.
emptied = for dir in $(addprefix $(DESTDIR),$(1)); do \
		[ ! -d $$dir ] || rmdir --ignore-fail-on-non-empty $$dir; \
	done

install-recipes:
	$(INSTALL) -d $(DESTDIR)$(DOCDIR)/recipes
	$(INSTALL) -m 644 $(recipes) $(DESTDIR)$(DOCDIR)/recipes/

uninstall-recipes:
	rm -f $(addprefix $(DESTDIR)$(DOCDIR)/,$(patsubst xtables-ext/%,%,$(recipes)))
	$(call emptied,$(DOCDIR)/recipes $(DOCDIR))

# By itself: the match does without it, and its user need not have the match.
install-cli:
	$(call wanted,$(TARGET)/cli/completions/dnp3fw.fish,make cli builds it)
	$(INSTALL) -d $(addprefix $(DESTDIR),$(BINDIR) $(MANDIR)/man8 $(CLIDIR) $(COMPLETIONDIRS))
	$(INSTALL) -m 755 $(TARGET)/release/dnp3fw $(DESTDIR)$(BINDIR)/
	$(INSTALL) -m 644 $(TARGET)/cli/man/*.8 $(DESTDIR)$(MANDIR)/man8/
	$(INSTALL) -m 644 cli/baseline.schema.json $(DESTDIR)$(CLIDIR)/
	$(INSTALL) -m 644 $(TARGET)/cli/completions/dnp3fw $(DESTDIR)$(BASHDIR)/
	$(INSTALL) -m 644 $(TARGET)/cli/completions/_dnp3fw $(DESTDIR)$(ZSHDIR)/
	$(INSTALL) -m 644 $(TARGET)/cli/completions/dnp3fw.fish $(DESTDIR)$(FISHDIR)/

uninstall-cli:
	rm -f $(DESTDIR)$(BINDIR)/dnp3fw $(DESTDIR)$(MANDIR)/man8/dnp3fw.8 $(DESTDIR)$(MANDIR)/man8/dnp3fw-*.8 \
		$(DESTDIR)$(BASHDIR)/dnp3fw $(DESTDIR)$(ZSHDIR)/_dnp3fw $(DESTDIR)$(FISHDIR)/dnp3fw.fish \
		$(DESTDIR)$(CLIDIR)/baseline.schema.json
	$(call emptied,$(CLIDIR))

# Then: dkms install xt_dnp3/VERSION
install-dkms:
	for file in $(dkms_sources); do \
		$(INSTALL) -D -m 644 $$file $(DESTDIR)$(DKMSDIR)/$$file || exit; \
	done
	chmod 755 $(DESTDIR)$(DKMSDIR)/kmod/*.sh
	sed 's/#MODULE_VERSION#/$(version)/' kmod/dkms.conf >$(DESTDIR)$(DKMSDIR)/dkms.conf
	chmod 644 $(DESTDIR)$(DKMSDIR)/dkms.conf

uninstall-dkms:
	rm -f $(addprefix $(DESTDIR)$(DKMSDIR)/,$(dkms_sources) dkms.conf)
	[ ! -d $(DESTDIR)$(DKMSDIR) ] || find $(DESTDIR)$(DKMSDIR) -depth -type d -empty -delete

.PHONY: help demo test test-debug test-kernels kmod ext cli deb test-packages test-long fuzz vm lint setup clean \
	install uninstall $(foreach part,$(parts) cli dkms,install-$(part) uninstall-$(part))

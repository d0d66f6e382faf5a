# What a person types; CI calls the same. PROFILE=release builds demo and tests as they are installed; ARGS goes to
# bench, bench-compare, bench-stages, instructions and mutants.
PROFILE ?= dev
CARGO = PATH="$$(configs/setup/cargo-path):$$PATH" cargo
TARGET = $(or $(CARGO_TARGET_DIR),target)
COUNT = $(CARGO) run --quiet --profile gate --package espalier-benches --bin instructions --
PLUGIN = build/libstrongswan-kernel-espalier.so
# Where the units of configs/systemd look.
SBIN = $(DESTDIR)/usr/sbin

.PHONY: help
help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 15

.PHONY: setup
setup: ## installs what is missing on Debian 12 (as root); does nothing where nothing is missing
	@configs/setup/setup.sh

.PHONY: plugin
plugin: setup ## builds the charon plugin
	@$(MAKE) --no-print-directory -C ike-bridge/charon-plugin OUT=$(CURDIR)/$(PLUGIN)

.PHONY: build
build: setup plugin ## builds the three programs and the plugin
	@$(CARGO) build --workspace --bins --profile $(PROFILE)

.PHONY: demo
demo: build ## two hosts talk through an Espalier gateway, rekeyed under traffic (as root)
	@$(CARGO) run --quiet --profile $(PROFILE) --package espalier-tests --bin demo

.PHONY: test
test: build ## every test: units, properties, end to end in network namespaces, instructions per packet (as root)
	@$(COUNT)
	@$(CARGO) test --workspace --profile $(PROFILE)

.PHONY: instructions
instructions: setup ## counts instructions per packet anew and writes them down in benches/instructions.toml
	@$(COUNT) --accept $(ARGS)

.PHONY: bench
bench: setup ## packets per second of the whole engine, beside AEAD and I/O alone (as root)
	@$(CARGO) build --release --package dataplane --package ike-bridge --package espctl --bins
	@$(CARGO) run --release --package espalier-benches --bin bench -- $(ARGS)

.PHONY: bench-stages
bench-stages: setup ## time of each stage of the packet path, in memory; ARGS chooses, as in `ARGS=spd`
	@$(CARGO) bench --package espalier-benches -- $(ARGS)

.PHONY: bench-compare
bench-compare: setup ## sets two results side by side: ARGS="OLD.json NEW.json", the two newest without
	@$(CARGO) run --quiet --package espalier-benches --bin bench -- compare $(ARGS)

.PHONY: mutants
mutants: build ## removes the guard of each safety property and shows that a test notices (as root)
	@$(CARGO) run --quiet --profile $(PROFILE) --package espalier-tests --bin mutants -- $(ARGS)

.PHONY: lint
lint: setup ## format, clippy, length of files, TODOs
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets -- -D warnings -D clippy::too_many_lines
	@.ci/file-length
	@.ci/todo

.PHONY: install
install: setup plugin ## installs programs, plugin, units and a sample gateway file; starts nothing (as root)
	@$(CARGO) build --release --package dataplane --package ike-bridge --package espctl --bins
	install -D -m 755 -t $(SBIN) $(TARGET)/release/espalier $(TARGET)/release/ike-bridge
	install -D -m 755 -t $(DESTDIR)/usr/bin $(TARGET)/release/espctl
	install -D -m 644 -t $(DESTDIR)/usr/lib/ipsec/plugins $(PLUGIN)
	install -D -m 644 -t $(DESTDIR)/etc/strongswan.d/charon configs/strongswan/kernel-espalier.conf
	install -D -m 644 -t $(DESTDIR)/lib/systemd/system configs/systemd/*.service
	test -e $(DESTDIR)/etc/espalier/gateway.toml || \
		install -D -m 600 configs/gateway.toml $(DESTDIR)/etc/espalier/gateway.toml

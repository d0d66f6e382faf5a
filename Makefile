# What a person types; CI calls the same. PROFILE=release builds demo and tests as they are installed.
PROFILE ?= dev
CARGO = PATH="$$(configs/setup/cargo-path):$$PATH" cargo
TARGET = $(or $(CARGO_TARGET_DIR),target)
PLUGIN = build/libstrongswan-kernel-espalier.so
PREFIX ?= /usr/local

.PHONY: help
help: ## lists the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

.PHONY: setup
setup: ## installs what is missing on Debian 12 (as root); does nothing where nothing is missing
	@configs/setup/setup.sh

.PHONY: plugin
plugin: setup ## builds the charon plugin
	@$(MAKE) --no-print-directory -C ike-bridge/charon-plugin OUT=$(CURDIR)/$(PLUGIN)

.PHONY: build
build: setup plugin ## builds the three programs and the plugin
	@$(CARGO) build --workspace --bins --profile $(PROFILE)

.PHONY: test
test: build ## every test: units, properties, end to end in network namespaces (as root)
	@$(CARGO) test --workspace --profile $(PROFILE)

.PHONY: lint
lint: setup ## format, clippy, length of files, TODOs
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets -- -D warnings
	@.ci/file-length
	@.ci/todo

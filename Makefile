# Builds, checks and shows ecsnode. `make` builds; `make help` lists the rest.
#
#   VERSION=v1.2.3   the version to build in; otherwise what git says, without a time stamp
#   GOARCH=arm64     build for another machine
#   CI=true          nothing may be skipped: what cannot run fails

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := build

# One set of flags throughout, so that building, vetting and linting share what
# is compiled. Only the race detector needs cgo; scripts/test.sh turns it on.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false
# sudo drops Go's usual place from PATH.
export PATH := $(PATH):/usr/local/go/bin

VERSION ?= $(shell GIT_OPTIONAL_LOCKS=0 git describe --tags --match 'v*' --always --dirty --abbrev=12 2>/dev/null || echo devel)

.PHONY: build test e2e lint fmt demo bench size reproducible packages ami release setup setup-build setup-test setup-lint setup-e2e clean help

build: setup-build ## build bin/ecsnode and bin/ecsnode-sim: static, stripped, reproducible
	go build -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./agent/cmd/...

test: build setup-test ## run every test with the race detector, and as root the cases on real nodes
	@scripts/test.sh
	@if ((EUID == 0)); then $(MAKE) --no-print-directory e2e; else echo "test: skipping the cases on real nodes (make e2e): they need root"; fi

e2e: build setup-e2e ## run the cases on real nodes with systemd, Docker and dnf; needs root
	@scripts/testnode/e2e.sh

lint: setup-lint ## look for mistakes: gofumpt, vet, staticcheck, shellcheck, tidy modules
	@scripts/lint.sh

fmt: ## format the Go sources
	go tool -modfile=scripts/tools.mod gofumpt -w .

demo: build ## show the main job against the simulator
	@scripts/demo.sh

bench: build setup-e2e ## measure what ecsnode costs, beside its budgets
	@scripts/bench.sh

size: build ## show what the binary's bytes are spent on; SINCE=REVISION: and what grew
	@scripts/size.sh bin/ecsnode $(SINCE)

reproducible: build ## build once more elsewhere and compare the bytes
	@scripts/reproducible.sh

packages: setup-build ## build the RPMs for x86_64 and arm64 into dist/
	@VERSION=$(VERSION) scripts/packages.sh

ami: ## build an image in your AWS account: ARCH=x86_64 REGION=eu-west-1; more in packer/build.sh
	@VERSION=$(VERSION) ARCH='$(ARCH)' REGION='$(REGION)' SOURCE='$(SOURCE)' VARS='$(VARS)' CHECK='$(CHECK)' packer/build.sh

release: setup-build ## build packages, bills of materials and checksums into dist/release, twice, and compare
	@VERSION=$(VERSION) scripts/release.sh

setup: ## install what building, testing and linting need
	@scripts/setup.sh

setup-build setup-test setup-lint setup-e2e:
	@scripts/setup.sh $(@:setup-%=%)

clean: ## remove what was built
	rm -rf bin dist .cache

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

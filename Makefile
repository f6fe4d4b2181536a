# make check is what CI runs, on a machine that has the tools; .ci/run installs them first.
GO ?= go
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pneudaq
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: check build dist influxd test

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o pneudaq ./cmd/pneudaq

test:
	$(GO) test ./...

check:
	bash .ci/run test lint integration race fuzz cross

influxd: $(CACHE)/influxd

$(CACHE)/influxd:
	mkdir -p $(CACHE)
	GOBIN=$(CACHE) $(GO) install github.com/influxdata/influxdb/cmd/influxd@v1.8.10

dist:
	bash .ci/dist $(VERSION)

# The commands one must know. CI runs the same.
GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
BUILD    = CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

.PHONY: build first-run test unit lint fuzz bench bench-short bench-capture chaos clean

build: ## one static binary
	$(BUILD) -o textback ./cmd/textback

first-run: ## a recording of a real PBX through NATS, rules and outbox; the texts are printed
	$(GO) run -buildvcs=false ./cmd/textback demo

test: ## everything, real parts included (needs root and Debian: it installs Asterisk, sipp and npm packages)
	bash testdata/run-tests

unit: ## what needs nothing but Go
	$(GO) test -short ./...

lint:
	test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	bash testdata/run-vulncheck

fuzz: ## every parser that outsiders can reach, two minutes each
	bash testdata/run-fuzz 120s

bench: ## each compares two things in one run
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-short: ## the same, once each: that they run
	$(GO) test -run '^$$' -bench . -benchtime 20x ./...

bench-capture: ## textback, tshark and sngrep over one generated capture of 100,000 calls (installs both; an hour)
	bash testdata/bench-capture 100000

chaos: ## kill -9 at every point of a text's life and at random ones, 200 calls and more
	TEXTBACK_CHAOS=200 $(GO) test -count 1 -p 1 -timeout 60m -run 'Kill|Chaos|Restart' -v ./sms/... ./pbx/bus ./cmd/textback/...

clean:
	rm -f textback

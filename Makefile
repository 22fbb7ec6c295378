# Everything here needs Go and make; the tests and the demo also npm, which fetches the embedded ClickHouse once
# into the user's cache, and the tests Java and Maven, which run and fetch Apache Kafka, Python, whose client of Kafka
# they publish with, and Chromium, which shows the pages. Nothing needs root, but Debian's Chromium where there is none,
# which the tests install then.

GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0

# The edition of the IANA time zone data, 2025c, by which the made cases were worked out; 2026c moves some of their lines.
TZDATA = tzdata==2025.3 --hash=sha256:06a47e5700f3081aab02b2e513160914ff0694bce9947d6b76ebd6bf57cfc5d1

# Clones share what is compiled, since no path of theirs is in it.
export GOFLAGS += -trimpath

# Tests that run beside each other: many of them wait for servers. Collecting garbage seldom makes compiling quicker, and
# make lint vets.
TEST = GOGC=300 go test -p 2 -parallel 4 -vet=off

# What takes half of the time of all tests, and is seldom what a change breaks: kills, losses and full disks, every page
# and every route for every role, clusters, backups, other people's readers and validators, and the commands of the docs.
SLOW = ^Test(Killed|Lost|CommandsKilled|IssueKilled|IssuersAtOnce|KilledPasses|FullDisk|LargeDay|HostileProfile)$$|$\
	^Test(APISchemathesis|APIScope|APIScopeAttacked|ConsoleBrowsed|ConsoleRoles|ConsoleNames)$$|$\
	^Test(Cluster|ClusterAgreesWithReference|AnalystOfCluster|TablesOverShards)$$|$\
	^Test(TypeScript|AsyncAPIParser|UBLPassesOfficialRules|PassesOfficialRules|ApacheKafkaComesBack)$$|$\
	^Test(PagesDoAsTheySay|ReleasedUpgraded|ViewsAgreeWithReference)$$|$\
	^TestServiceScripts$$/^(backup|findings|ledger|lost|run|topics|two-persons|views|zones)$$

.DEFAULT_GOAL = build
.PHONY: build demo sql test test-slow test-fast test-long check-deploy check-deploy-update bench lint vuln fmt tzdata clean help

build: ## build bin/apportion
	go build -o bin/apportion ./cmd/apportion

demo: build ## the whole pipeline once on the shipped real month, invoices to out/, data to out/data
	@rm -rf out/data
	bin/apportion demo --data out/data
	@echo "To open the console on it, with the link that this prints: bin/apportion dev --data out/data"

test: ## run the tests but the slow ones; those that need a service skip without one, and fail with CI=true
	$(TEST) -timeout 60m -skip '$(SLOW)' ./...

test-slow: ## run the slow ones
	$(TEST) -timeout 60m -run '$(SLOW)' ./cmd/apportion ./schemas/... ./aggregate/... ./billing/export/... ./deploy/...

test-fast: ## run the quick tests; those that are left out say so with -v
	$(TEST) -short -timeout 10m ./...

test-long: ## run every test with more draws, more kills and a larger day
	TEST_LONG=1 $(TEST) -timeout 120m ./...

check-deploy: ## hold deploy/ to Helm, the API of Kubernetes and the compose specification; minutes, the first time
	cd deploy/check && go run . ..

check-deploy-update: ## rewrite what the chart gives in deploy/helm/golden
	cd deploy/check && go run . -update ..

bench: ## measure, tests left out
	go test -p 1 -timeout 30m -run '^$$' -bench . -benchmem ./...

sql: ## print the query that computes usage, with tables and deliveries of its own, for clickhouse-client or local
	@file=$$(mktemp) && trap "rm -f $$file" EXIT && \
	go test ./aggregate/clickhouse -run TestPrintedQuery -print-sql=$$file >/dev/null && cat $$file

lint: ## formatting, go vet, staticcheck and the rules of .golangci.yml
	go vet ./...
	go run $(GOLANGCI) run ./...

vuln: ## known vulnerabilities in what is called; needs https://vuln.go.dev
	go run $(GOVULNCHECK) ./...

fmt: ## format the Go code, imports in order
	go run $(GOLANGCI) fmt ./...

tzdata: ## pack the pinned edition of the time zone data; needs pip
	@dir=$$(mktemp -d) && trap 'rm -rf '"$$dir" EXIT && echo "$(TZDATA)" > $$dir/pinned && \
	pip download -q --no-deps --only-binary :all: --require-hashes -r $$dir/pinned -d $$dir && \
	go run schemas/civil/pack.go $$dir/tzdata-*.whl schemas/civil/zoneinfo.zip

clean: ## remove what build and demo made
	rm -rf bin out

help: ## list these
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

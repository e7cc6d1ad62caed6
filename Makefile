# The commands of this house; see README.md.
.PHONY: run demo test lint bench deps dashboard e2e bench-dashboard

CARGO ?= cargo

run: deps dashboard ## Build and run the server with a private Postgres and Redis under ./data
	$(CARGO) run --release -- serve

demo: ## Send real OTLP from a small shop to the server that `make run` started
	$(CARGO) run --release -- demo

test: deps dashboard lint ## Everything that CI checks
	$(CARGO) test --workspace
	$(CARGO) test -p fastbreak-client --all-features
	$(CARGO) check -p fastbreak-client --no-default-features
	cd clients/dashboard && npm test
	$(MAKE) e2e

dashboard: ## Build the dashboard that the binary embeds
	cd clients/dashboard && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund; } && npm run build

e2e: ## Browser tests against the real server; screenshots are left in tests/e2e/out
	$(CARGO) build
	cd tests/e2e && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund; } && npm test

bench: deps ## Tables of ratios, floors and peers beside us; see benches/README.md
	./benches/install-peers.sh
	$(CARGO) bench --bench load

bench-dashboard: dashboard ## What the dashboard costs in a browser, as a table; fails over a limit
	$(CARGO) build
	cd tests/e2e && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund; } && npm run bench

lint: ## Format, clippy as errors, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --quiet

deps: ## Install what a bare Debian machine lacks
	./scripts/install-deps.sh

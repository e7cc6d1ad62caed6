# The commands of this house; see README.md.
.PHONY: run demo test lint bench deps

CARGO ?= cargo

run: deps ## Build and run the server with a private Postgres and Redis under ./data
	$(CARGO) run --release -- serve

demo: ## Send real OTLP from a small shop to the server that `make run` started
	$(CARGO) run --release -- demo

test: deps lint ## Everything that CI checks
	$(CARGO) test --workspace

bench: deps ## Tables of ratios, floors and peers beside us; see benches/README.md
	./benches/install-peers.sh
	$(CARGO) bench --bench load

lint: ## Format, clippy as errors, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --quiet

deps: ## Install what a bare Debian machine lacks
	./scripts/install-deps.sh

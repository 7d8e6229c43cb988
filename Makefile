# What people and CI call. `make up` and `make test` set up a bare Debian machine that has Rust,
# Python 3 and root; elsewhere they use what is there and say what is missing.

SLOTWARD := target/release/slotward
export JEMALLOC_SYS_WITH_LG_QUANTUM := 3

.PHONY: up down status test tests-only bench bench-memory conformance drill failover soak fmt fix docs tidy clean help bench-hits torture

help:
	@echo "make up        build, start 3 sentinels and 6 data nodes, form a cluster"
	@echo "make down      stop it"
	@echo "make status    show it"
	@echo "make test      every check and test"
	@echo "make bench     CPU per command beside Redis and Valkey"
	@echo "make bench-memory  resident bytes per key beside Redis and Valkey"
	@echo "make bench-hits  hit rates of a full cache beside Redis and Valkey"
	@echo "make conformance  a million random commands to us and to Redis and Valkey: the same replies"
	@echo "make torture   30 minutes of random commands: live data, replicas and dumps agree; MINUTES=n SEED=n"
	@echo "make drill     docker-compose.yml's services stopped, killed and cut off (needs root)"
	@echo "make failover  20 rounds of killing a master under writes; FAULT=stop|freeze|… ROUNDS=n"
	@echo "make soak      10 000 seeds of the simulated control plane, 20 rounds of sentinels that meet"
	@echo "make fix       format, apply suggestions, write generated pages again"

up: $(SLOTWARD)-built
	@$(SLOTWARD) cluster up

down:
	@if [ -x $(SLOTWARD) ]; then $(SLOTWARD) cluster down; else echo "Nothing was built."; fi

status:
	@$(SLOTWARD) cluster status

# Cargo knows better than make whether something has changed.
.PHONY: $(SLOTWARD)-built
$(SLOTWARD)-built:
	@scripts/install.sh build
	cargo build --release --locked -p slotward

test:
	@scripts/install.sh build test
	cargo xtask ci

# The process tests alone, on the binary that is there: `make tests-only T=tests/test_single.py`.
tests-only:
	.venv/bin/python -m pytest $(or $(T),tests)

bench:
	@scripts/install.sh build test bench
	cargo build --profile bench --locked -p slotward
	@cp $(SLOTWARD) target/slotward-bench
	.venv/bin/python bench/cpu.py $(ARGS)

bench-memory: $(SLOTWARD)-built
	@scripts/install.sh test bench
	.venv/bin/python bench/memory.py $(ARGS)

bench-hits: $(SLOTWARD)-built
	@scripts/install.sh test bench
	.venv/bin/python bench/hits.py $(ARGS)

conformance: $(SLOTWARD)-built
	@scripts/install.sh test bench
	.venv/bin/python tests/conformance.py $(ARGS)

torture: $(SLOTWARD)-built
	@scripts/install.sh test bench
	.venv/bin/python tests/torture.py --record --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1) $(ARGS)

failover: $(SLOTWARD)-built
	@$(SLOTWARD) cluster up
	$(SLOTWARD) drill --fault $(or $(FAULT),kill) --rounds $(or $(ROUNDS),20) $(ARGS)

soak: $(SLOTWARD)-built
	cargo xtask sim --seeds $(or $(SEEDS),10000)
	cargo xtask sim --moves $(or $(SEEDS),10000)
	@scripts/install.sh test
	DISCOVERY_ROUNDS=20 .venv/bin/python -m pytest -q tests/test_discovery.py

# As root: every service of docker-compose.yml in a network namespace of its own, stopped, killed and
# cut off in every way. `make drill ROUNDS=20`, `make drill T=partition`.
drill: $(SLOTWARD)-built
	@scripts/install.sh test
	ROUNDS=$(or $(ROUNDS),1) .venv/bin/python -m pytest tests/drill_netns.py -s --no-header $(if $(T),-k $(T))

fmt:
	cargo fmt --all

fix:
	cargo xtask fix

docs:
	cargo xtask docs

tidy:
	cargo xtask tidy

clean:
	rm -rf target .venv tests/node/node_modules

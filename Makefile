# The entry points. Every target that builds first installs what is missing (scripts/install_deps.sh:
# silent when nothing is), so a fresh Debian 12 needs only: apt-get install make.

PRESET ?= release
BUILD := build/$(PRESET)
CTEST_ARGS ?=
BENCH_ARGS ?=
PREFIX ?= /usr/local

# ccache is used where it is installed; nothing needs it.
LAUNCHER := $(shell command -v ccache >/dev/null 2>&1 && echo -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

.DEFAULT_GOAL := help
.PHONY: help deps build test demo smollm2 bench format check install clean distclean

help:
	@echo 'make build      compile into build/release (PRESET=dev: sanitizers, PRESET=tsan: threads,'
	@echo '                PRESET=emulated: AVX-512 kernels on AVX2)'
	@echo 'make test       build, then run every test (CTEST_ARGS="-R kernels" for some)'
	@echo 'make demo       build, collect real text from Debian packages, train a small MoE on it, show it'
	@echo 'make smollm2    build, fetch a small published model (92 MB, once), chat with it'
	@echo 'make bench      build, then run the benchmarks (BENCH_ARGS="--benchmark_filter=matmul")'
	@echo 'make check      layers, formatting and instruction sets only'
	@echo 'make format     apply .clang-format to the tracked sources'
	@echo 'make install    install to PREFIX (default /usr/local; DESTDIR is honoured)'
	@echo 'make clean      remove build/$(PRESET); make distclean: all builds, demo/ and downloads'
	@echo 'make deps       install the packages that are missing (build, test, demo and bench do it too)'

deps:
	@scripts/install_deps.sh

build: deps
	cmake --preset $(PRESET) --log-level=WARNING $(LAUNCHER)
	cmake --build --preset $(PRESET)

test: build
	ctest --preset $(PRESET) --no-tests=error $(CTEST_ARGS)

# Only the program: the tests and benchmarks take as long again to compile.
demo: deps
	cmake --preset $(PRESET) --log-level=WARNING $(LAUNCHER)
	cmake --build --preset $(PRESET) --target conclave
	scripts/demo.sh

smollm2: deps
	@python3 -m pip --version >/dev/null 2>&1 || CONCLAVE_EXTRA_PACKAGES=python3-pip scripts/install_deps.sh
	cmake --preset $(PRESET) --log-level=WARNING $(LAUNCHER)
	cmake --build --preset $(PRESET) --target conclave
	@CONCLAVE=$(BUILD)/conclave scripts/smollm2.sh

bench: deps
	cmake --preset $(PRESET) --log-level=WARNING $(LAUNCHER)
	cmake --build --preset $(PRESET) --target benchmarks
	@for program in $(BUILD)/bench_*; do \
	  [ -x "$$program" ] || continue; \
	  echo "== $$program"; "$$program" $(BENCH_ARGS) || exit 1; \
	done

check: build
	ctest --preset $(PRESET) --no-tests=error -R '^check_'

format:
	@scripts/check_format.sh --fix

install: build
	cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	rm -rf $(BUILD)

distclean:
	rm -rf build demo .cache

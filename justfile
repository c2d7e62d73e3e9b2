# The steps of CI by name. Each is a function of .ci/run, which needs no just: `just check` is `bash .ci/run check`.
# Times: two cores, built before; CONTRIBUTING says how they were measured.

set positional-arguments

# Lists the steps.
default:
    @just --list

# Formatting and lints.
check:
    @bash .ci/run check

# The inner loop's tests: all but those that .config/nextest.toml names.
quick *FILTER:
    @bash .ci/run quick "$@"

# Every test, or those whose names have MODULE in them.
test *MODULE:
    @bash .ci/run test "$@"

# Writes golden files and the README's sessions again: read the diff.
golden *FILTER:
    @bash .ci/run golden "$@"

# The documentation of the library.
doc:
    @bash .ci/run doc

# Licences, bans and sources of dependencies (cargo-deny).
deny:
    @bash .ci/run deny

# Installs the registry clients that tests use (Debian).
clients:
    @bash .ci/run clients

# Builds what the interop suite compares with (Go; minutes, once).
oracles:
    @bash .ci/run oracles

# Against Talos' own code, the released sops, and clients of registries (Go).
interop *ARGS:
    @bash .ci/run interop "$@"

# The benches, or one of them.
bench *NAME:
    @bash .ci/run bench "$@"

# Binaries, packages, the image and what belongs to them, in dist/ (Go; many minutes).
release *ARCHS:
    @bash .ci/run release "$@"

# One fuzz target, a minute by default (nightly, cargo-fuzz).
fuzz TARGET SECONDS="60":
    @bash .ci/run fuzz "$@"

# All that CI does.
ci:
    @bash .ci/run

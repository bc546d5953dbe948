# The one list of commands. `.ci/run` calls `check`.

# Runs the daemon on a folder.
run +folders:
    cargo run --release -- {{folders}}

# Runs the tests.
test:
    cargo test --release

# All that has to pass before a change lands.
check:
    bash .ci/run

# Measures: distance kernels, search, decoding, encoding.
bench:
    cargo bench

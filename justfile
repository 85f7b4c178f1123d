# The usual commands. `just test NAME` runs the tests whose names contain NAME.

# A throwaway trust domain, a server and the demonstration of a stolen token.
dev *arguments:
    cargo run --release -- dev {{arguments}}

# The tests; LANYARD_SKIP=all skips those that need counterparts.
test *arguments:
    cargo test --locked {{arguments}}

# Formats the sources and runs clippy.
lint:
    cargo fmt
    cargo clippy --locked --all-targets -- -D warnings

# Measures what a request costs the server.
bench:
    cargo bench --locked --bench serving

# Everything that a change must pass.
ci:
    .ci/run

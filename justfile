# The commands that people type. `just test NAME` runs the tests whose names have NAME in them.

# A throwaway trust domain, a server and the story of a stolen token.
dev *arguments:
    cargo run --release -- dev {{arguments}}

# The tests; LANYARD_SKIP=all leaves out those that fetch their counterparts.
test *arguments:
    cargo test --locked {{arguments}}

# Formats the sources and says what clippy finds.
lint:
    cargo fmt
    cargo clippy --locked --all-targets -- -D warnings

# What a request costs the server.
bench:
    cargo bench --locked --bench serving

# All that a change must pass.
ci:
    .ci/run

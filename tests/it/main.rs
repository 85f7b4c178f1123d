//! The integration tests: one binary, a file a behaviour.
// `cfg(test)` always holds here; it tells clippy that what stands beside the tests may unwrap as they do.

#[cfg(test)]
mod distinguished_name;
#[cfg(test)]
mod forwarded;

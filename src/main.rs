//! placeholder until the command line exists
fn main() {}

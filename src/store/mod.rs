//! The stores behind the port of `authority::store`.

//! Who may call which method.

mod callers;
mod methods;
mod operators;
mod proxies;
mod refusals;

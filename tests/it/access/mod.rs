//! Who may call which method.

mod callers;
mod methods;
mod proxies;
mod refusals;

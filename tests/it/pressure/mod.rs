//! Callers that take what they can, and what everybody else gets meanwhile.

mod chains;
mod descriptors;
mod floods;
mod newcomers;
mod proxy_protocol;
mod support;

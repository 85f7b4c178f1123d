//! Callers that take what they can, and what everybody else gets meanwhile.

mod chains;
mod control_frames;
mod descriptors;
mod floods;
mod newcomers;
mod peer;
mod proxy_protocol;
mod slow;
mod states;
mod support;

//! Callers that take what they can, and what everybody else gets meanwhile.

mod admission;
mod callers;
mod chains;
mod control_frames;
mod descriptors;
mod floods;
mod memory;
mod newcomers;
mod overload;
mod peer;
mod proxy_protocol;
mod quotas;
mod refusals;
mod shares;
mod slow;
mod states;
mod stop;
mod support;
mod unread_log;

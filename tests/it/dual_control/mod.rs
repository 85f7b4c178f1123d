//! Dual control: the changes of named kinds wait for a second admin.

mod command_line;
mod kinds;
mod life;
mod property;
mod protocols;
mod support;
mod who;

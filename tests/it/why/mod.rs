//! Why something was refused: the reference of each refusal, what is remembered of it, and who may ask. The same of what has not
//! happened; and decisions as they are made, for those who follow them.

mod ahead;
mod exchanges;
mod followed;
mod memory;
mod references;
pub mod scene;
mod situations;

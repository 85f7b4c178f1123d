//! Why something was refused: the reference of each refusal, what is remembered of it, and who may ask.

mod memory;
mod references;
mod situations;

//! Why something was refused: the reference of each refusal, what is remembered of it, and who may ask. And the same of what has
//! not happened.

mod ahead;
mod memory;
mod references;
mod scene;
mod situations;

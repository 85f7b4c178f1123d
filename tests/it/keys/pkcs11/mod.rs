//! Signing keys in a PKCS#11 token, which is `SoftHSM`: a real server in a process of its own, since a process has a PKCS#11
//! module once.

mod configured;
mod faults;
mod kept;
mod records;
mod refused;
mod rotated;
mod slow;
mod support;

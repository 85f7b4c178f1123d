//! The code generated from `proto/etcd`.
#![expect(
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::enum_variant_names,
    reason = "generated"
)]

pub(super) mod mvccpb {
    tonic::include_proto!("mvccpb");
}

pub(super) mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

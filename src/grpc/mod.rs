//! The gRPC protocol: reads requests, calls the authority and encodes its results. No decision is made here.

mod admin;
mod binding_answer;
mod binding_frames;
mod binding_question;
mod binding_stream;
mod bindings;
mod chaining;
mod check_answer;
mod check_denial;
mod check_question;
mod claims;
mod decisions;
mod exchange_answer;
mod explained;
mod explained_exchange;
mod explanations;
pub mod ext_authz;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod health;
mod keys;
mod not_followed;
mod page;
mod preview;
mod proposals;
mod registry;
mod resource_reports;
mod revocations;
pub mod short_answer;
pub mod short_road;
mod snapshot;
pub mod status;
mod structure;
mod tokens;
mod txn;
mod whoami;
mod wire;

use std::sync::Arc;

use axum::Router;
use tonic::Extensions;
use tonic::Status;
use tonic::service::Routes;

use crate::authority::Authority;
use crate::authority::state::Asker;
use crate::authority::state::Caller;
use crate::grpc::health::Readiness;
use crate::proto;
use crate::proto::admin_service_server::AdminServiceServer;
use crate::proto::binding_service_server::BindingServiceServer;
use crate::proto::decision_service_server::DecisionServiceServer;
use crate::proto::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use crate::proto::explanation_service_server::ExplanationServiceServer;
use crate::proto::key_service_server::KeyServiceServer;
use crate::proto::proposal_service_server::ProposalServiceServer;
use crate::proto::registry_service_server::RegistryServiceServer;
use crate::proto::snapshot_service_server::SnapshotServiceServer;
use crate::proto::token_service_server::TokenServiceServer;

/// The maximum size of a request in bytes. A token, a certificate and a forwarded header at their own limits fit.
const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// The maximum size of a check in bytes. A check carries all headers of a request, at the largest size that a proxy can
/// be configured to accept.
const MAX_CHECK_BYTES: usize = 1024 * 1024;

/// Implements all gRPC services.
#[derive(Clone, Debug)]
struct Services {
    authority: Arc<Authority>,
}

/// Adds the gRPC services to the HTTP routes. Both share one router, because two routers would each have a fallback.
pub fn routes(
    http: Router,
    authority: &Arc<Authority>,
    readiness: Readiness,
) -> Result<Router, tonic_reflection::server::Error> {
    let services = || Services { authority: Arc::clone(authority) };
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let bindings = BindingServiceServer::new(services()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let routes = Routes::from(http)
        .add_service(TokenServiceServer::new(services()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(binding_stream::WithStream::new(Arc::clone(authority), bindings))
        .add_service(RegistryServiceServer::new(services()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(AuthorizationServer::new(services()).max_decoding_message_size(MAX_CHECK_BYTES))
        .add_service(KeyServiceServer::new(services()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(AdminServiceServer::new(services()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(ExplanationServiceServer::new(services()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(ProposalServiceServer::new(services()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(DecisionServiceServer::new(services()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(SnapshotServiceServer::new(services()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(health::service(readiness))
        .add_service(reflection().build_v1()?)
        // Python's reflection client still uses v1alpha.
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.into_axum_router())
}

/// The caller that the guard in front of the routes has admitted. A request without one fails.
fn caller(extensions: &Extensions) -> Result<&Caller, Status> {
    extensions.get::<Caller>().ok_or_else(|| Status::internal("the request did not pass the guard"))
}

/// Who asks for a decision: that caller, or the proxy on this machine that was admitted.
fn asker(extensions: &mut Extensions) -> Result<Asker, Status> {
    let caller = extensions.remove::<Caller>().map(Asker::from);
    let asker = caller.or_else(|| extensions.remove::<Asker>());
    asker.ok_or_else(|| Status::internal("the request did not pass the guard"))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::authority::access::METHODS;

    #[test]
    fn the_methods_that_take_a_stream_are_those_of_the_protos() {
        let sets = [
            proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut streamed = Vec::new();
        for file in sets.iter().flat_map(|set| FileDescriptorSet::decode(*set).unwrap().file) {
            for service in &file.service {
                let methods = service.method.iter().filter(|method| method.client_streaming());
                streamed
                    .extend(methods.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())));
            }
        }
        streamed.sort();
        streamed.dedup();
        let table: Vec<&str> = METHODS.iter().filter(|entry| entry.takes_a_stream).map(|entry| entry.name).collect();
        assert_eq!(streamed, table);
    }
}

//! `lanyard.v1.KeyService`.

use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::grpc::Services;
use crate::proto::GetJwksRequest;
use crate::proto::GetJwksResponse;
use crate::proto::key_service_server::KeyService;

#[tonic::async_trait]
impl KeyService for Services {
    async fn get_jwks(&self, _request: Request<GetJwksRequest>) -> Result<Response<GetJwksResponse>, Status> {
        Ok(Response::new(GetJwksResponse { jwks: self.authority.keys().jwks() }))
    }
}

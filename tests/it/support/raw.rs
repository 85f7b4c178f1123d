//! gRPC messages as bytes, including ones that no library sends.

use axum::http::uri::PathAndQuery;
use prost::Message;
use prost::bytes::BufMut as _;
use tonic::Request;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::codec::EncodeBuf;
use tonic::codec::Encoder;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

/// Sends these bytes as the one message of a call.
pub async fn call<T: Message + Default + 'static>(channel: Channel, path: &str, bytes: Vec<u8>) -> Result<T, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(path).unwrap();
    let codec = Raw(ProstCodec::<(), T>::default());
    client.unary(Request::new(bytes), path, codec).await.map(tonic::Response::into_inner)
}

struct Raw<T>(ProstCodec<(), T>);

struct AsTheyAre;

impl<T: Message + Default + 'static> Codec for Raw<T> {
    type Encode = Vec<u8>;
    type Decode = T;
    type Encoder = AsTheyAre;
    type Decoder = <ProstCodec<(), T> as Codec>::Decoder;

    fn encoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }

    fn decoder(&mut self) -> Self::Decoder {
        self.0.decoder()
    }
}

impl Encoder for AsTheyAre {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&bytes);
        Ok(())
    }
}

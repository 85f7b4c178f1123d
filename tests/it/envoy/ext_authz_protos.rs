//! Envoy's protos as they are trimmed here: what Envoy sends beside the fields that are read is skipped, what is sent has
//! Envoy's numbers, and reflection describes the service.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::CheckResponse;
use lanyard::proto::envoy::service::auth::v3::DeniedHttpResponse;
use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use prost::Message;
use prost_types::FileDescriptorProto;
use tonic_reflection::pb::v1;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1alpha;

use crate::support::check::Asked;
use crate::support::check::answer;
use crate::support::check::orders;
use crate::support::raw;
use crate::support::server::TestServer;

const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Any message: Envoy's `Address`, `Metadata`, `TLSSession` begin with such a field.
#[derive(Clone, PartialEq, Message)]
struct Unread {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(fixed32, tag = "2")]
    four_bytes: u32,
    #[prost(fixed64, tag = "3")]
    eight_bytes: u64,
}

/// `envoy.service.auth.v3.CheckRequest` with every field that Envoy 1.36 has, and one of a later version.
#[derive(Clone, PartialEq, Message)]
struct WholeRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<WholeContext>,
    #[prost(message, optional, tag = "536870911")]
    later: Option<Unread>,
}

#[derive(Clone, PartialEq, Message)]
struct WholeContext {
    #[prost(message, optional, tag = "1")]
    source: Option<WholePeer>,
    #[prost(message, optional, tag = "2")]
    destination: Option<WholePeer>,
    #[prost(message, optional, tag = "4")]
    request: Option<WholeHttp>,
    #[prost(map = "string, string", tag = "10")]
    context_extensions: HashMap<String, String>,
    #[prost(message, optional, tag = "11")]
    metadata_context: Option<Unread>,
    #[prost(message, optional, tag = "12")]
    tls_session: Option<Unread>,
    #[prost(message, optional, tag = "13")]
    route_metadata_context: Option<Unread>,
}

#[derive(Clone, PartialEq, Message)]
struct WholePeer {
    #[prost(message, optional, tag = "1")]
    address: Option<WholeAddress>,
    #[prost(string, tag = "2")]
    service: String,
    #[prost(map = "string, string", tag = "3")]
    labels: HashMap<String, String>,
    #[prost(string, tag = "4")]
    principal: String,
    #[prost(string, tag = "5")]
    certificate: String,
}

#[derive(Clone, PartialEq, Message)]
struct WholeHttp {
    #[prost(message, optional, tag = "1")]
    time: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "2")]
    http: Option<WholeHttpRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct WholeHttpRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "6")]
    scheme: String,
    #[prost(string, tag = "7")]
    query: String,
    #[prost(string, tag = "8")]
    fragment: String,
    #[prost(int64, tag = "9")]
    size: i64,
    #[prost(string, tag = "10")]
    protocol: String,
    #[prost(string, tag = "11")]
    body: String,
    #[prost(bytes = "vec", tag = "12")]
    raw_body: Vec<u8>,
    #[prost(message, optional, tag = "13")]
    header_map: Option<WholeHeaders>,
}

#[derive(Clone, PartialEq, Message)]
struct WholeHeaders {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<WholeHeader>,
}

#[derive(Clone, PartialEq, Message)]
struct WholeHeader {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(bytes = "vec", tag = "3")]
    raw_value: Vec<u8>,
}

/// `envoy.config.core.v3.Address` with a `SocketAddress`.
#[derive(Clone, PartialEq, Message)]
struct WholeAddress {
    #[prost(message, optional, tag = "1")]
    socket_address: Option<WholeSocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
struct WholeSocketAddress {
    #[prost(int32, tag = "1")]
    protocol: i32,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    port_value: u32,
    #[prost(string, tag = "4")]
    named_port: String,
    #[prost(string, tag = "5")]
    resolver_name: String,
    #[prost(bool, tag = "6")]
    ipv4_compat: bool,
}

fn unread() -> Unread {
    Unread { text: "unread".to_owned(), four_bytes: u32::MAX, eight_bytes: u64::MAX }
}

/// A check with all that Envoy can say about it.
fn whole(asked: Asked) -> WholeRequest {
    let mut asked = asked.attributes;
    let http = asked.request.take().and_then(|request| request.http).unwrap();
    let labels = || HashMap::from([("app".to_owned(), "checkout".to_owned())]);
    let peer = |principal: String, certificate: String| {
        let service = "checkout".to_owned();
        let socket_address = Some(WholeSocketAddress {
            protocol: 1,
            address: "192.0.2.7".to_owned(),
            port_value: 17,
            named_port: "http".to_owned(),
            resolver_name: "envoy".to_owned(),
            ipv4_compat: true,
        });
        let address = Some(WholeAddress { socket_address });
        Some(WholePeer { address, service, labels: labels(), principal, certificate })
    };
    let (source, destination) = (asked.source.unwrap(), asked.destination.unwrap());
    let header = |key: &str, raw_value: &[u8]| WholeHeader {
        key: key.to_owned(),
        value: String::new(),
        raw_value: raw_value.to_vec(),
    };
    let http = WholeHttpRequest {
        id: "1".to_owned(),
        method: http.method,
        headers: http.headers,
        path: http.path,
        host: http.host,
        scheme: "https".to_owned(),
        query: "a=b".to_owned(),
        fragment: "c".to_owned(),
        size: -1,
        protocol: "HTTP/2".to_owned(),
        body: "{}".to_owned(),
        raw_body: vec![0xff, 0xfe],
        header_map: Some(WholeHeaders { headers: vec![header("x-raw", b"\xff"), header("accept", b"*/*")] }),
    };
    let time = Some(prost_types::Timestamp { seconds: 1, nanos: 2 });
    let attributes = WholeContext {
        source: peer(source.principal, source.certificate),
        destination: peer(destination.principal, destination.certificate),
        request: Some(WholeHttp { time, http: Some(http) }),
        context_extensions: asked.context_extensions,
        metadata_context: Some(unread()),
        tls_session: Some(unread()),
        route_metadata_context: Some(unread()),
    };
    WholeRequest { attributes: Some(attributes), later: Some(unread()) }
}

#[tokio::test]
async fn a_check_with_every_field_of_envoys_is_read_and_the_others_are_skipped() {
    let server = TestServer::start().await;
    server.protect(orders()).await.unwrap();
    let (checkout, thief) = (server.workload("/checkout").await, server.workload("/thief").await);
    let token = server.token(&checkout).await;
    let channel = server.channel(&server.svid("/proxy"));
    for (leaf, reason) in [(&checkout, ""), (&thief, "CERTIFICATE_MISMATCH")] {
        let asked = Asked::with(&token, leaf).header("accept", "text/html");
        let message = whole(asked.clone());
        let response = raw::call::<CheckResponse>(channel.clone(), CHECK, message.encode_to_vec()).await.unwrap();
        assert_eq!(answer(&response).reason(), reason);

        // What is read of the whole message is what the trimmed protos can say.
        let mut read = CheckRequest::decode(message.encode_to_vec().as_slice()).unwrap();
        let http = read.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
        let raw = http.header_map.take().unwrap().headers.into_iter().map(|header| (header.key, header.raw_value));
        let expected = [("x-raw".to_owned(), b"\xff".to_vec()), ("accept".to_owned(), b"*/*".to_vec())];
        assert_eq!(raw.collect::<Vec<_>>(), expected);
        // Of both peers the address is read, as a text.
        let attributes = read.attributes.as_mut().unwrap();
        for peer in [&mut attributes.source, &mut attributes.destination] {
            let address = peer.as_mut().unwrap().address.take().unwrap().socket_address.unwrap().address;
            assert_eq!(address, "192.0.2.7");
        }
        assert_eq!(read, asked.message());
    }
    // One field less that is read, and the answer changes.
    for (change, reason) in [
        ((|context: &mut WholeContext| context.context_extensions.clear()) as fn(&mut _), "RESOURCE_UNKNOWN"),
        // The principal alone is weaker evidence than this resource wants.
        (|context| context.source.as_mut().unwrap().certificate.clear(), "EVIDENCE_TOO_WEAK"),
        (|context| context.source = None, "EVIDENCE_MISSING"),
        (|context| http(context).headers.clear(), "TOKEN_MISSING"),
        (|context| http(context).path = "/nowhere".to_owned(), "ROUTE_UNKNOWN"),
        (|context| http(context).method = "POST".to_owned(), "ROUTE_UNKNOWN"),
        (|context| context.request = None, "REQUEST_MALFORMED"),
    ] {
        let mut message = whole(Asked::with(&token, &checkout));
        change(message.attributes.as_mut().unwrap());
        let response = raw::call::<CheckResponse>(channel.clone(), CHECK, message.encode_to_vec()).await.unwrap();
        assert_eq!(answer(&response).reason(), reason);
    }
}

fn http(context: &mut WholeContext) -> &mut WholeHttpRequest {
    context.request.as_mut().unwrap().http.as_mut().unwrap()
}

/// `envoy.service.auth.v3.CheckResponse`, its two responses, and `HeaderValueOption` as Envoy numbers them.
#[derive(Clone, PartialEq, Message)]
struct EnvoyResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<EnvoyStatus>,
    #[prost(message, optional, tag = "2")]
    denied_response: Option<EnvoyDenied>,
    #[prost(message, optional, tag = "3")]
    ok_response: Option<EnvoyOk>,
    #[prost(message, optional, tag = "4")]
    dynamic_metadata: Option<prost_types::Struct>,
    #[prost(message, optional, tag = "5")]
    error_response: Option<EnvoyDenied>,
}

#[derive(Clone, PartialEq, Message)]
struct EnvoyStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct EnvoyDenied {
    #[prost(message, optional, tag = "1")]
    status: Option<EnvoyHttpStatus>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<EnvoyHeaderOption>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct EnvoyHttpStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct EnvoyOk {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<EnvoyHeaderOption>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    response_headers_to_add: Vec<EnvoyHeaderOption>,
}

#[derive(Clone, PartialEq, Message)]
struct EnvoyHeaderOption {
    #[prost(message, optional, tag = "1")]
    header: Option<WholeHeader>,
    #[prost(message, optional, tag = "2")]
    append: Option<bool>,
    #[prost(int32, tag = "3")]
    append_action: i32,
}

/// The headers, each of which replaces all others of its name: `append` false, `OVERWRITE_IF_EXISTS_OR_ADD`.
fn set(options: Vec<EnvoyHeaderOption>) -> BTreeMap<String, String> {
    let read = |option: EnvoyHeaderOption| {
        assert_eq!((option.append, option.append_action), (Some(false), 2));
        let header = option.header.unwrap();
        (header.key, header.value)
    };
    options.into_iter().map(read).collect()
}

#[tokio::test]
async fn the_answer_has_the_field_numbers_that_envoy_reads() {
    let server = TestServer::start().await;
    let mut resource = orders();
    (resource.mode, resource.report_header) = ("report".to_owned(), true);
    server.protect(resource).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let channel = server.channel(&server.svid("/proxy"));
    let ask = async |asked: Asked| {
        raw::call::<EnvoyResponse>(channel.clone(), CHECK, asked.message().encode_to_vec()).await.unwrap()
    };

    let allowed = ask(Asked::with(&token, &checkout).header("x-lanyard-subject", "forged")).await;
    assert_eq!(allowed.status, Some(EnvoyStatus::default()));
    assert_eq!((&allowed.denied_response, &allowed.error_response), (&None, &None));
    let ok = allowed.ok_response.unwrap();
    assert_eq!(set(ok.headers)["x-lanyard-binding"], "exact");
    assert!(allowed.dynamic_metadata.unwrap().fields.contains_key("client_id"));

    let reported = ask(Asked::anonymous().header("x-lanyard-subject", "forged")).await.ok_response.unwrap();
    assert_eq!(set(reported.response_headers_to_add)["x-lanyard-report"], "TOKEN_MISSING");
    assert!(reported.headers_to_remove.contains(&"x-lanyard-subject".to_owned()), "{:?}", reported.headers_to_remove);

    let denied = ask(Asked::anonymous().resource("https://elsewhere.prod.example")).await;
    let status = denied.status.unwrap();
    assert_eq!((status.code, status.message.as_str()), (tonic::Code::PermissionDenied.into(), "RESOURCE_UNKNOWN"));
    assert_eq!((&denied.ok_response, &denied.error_response), (&None, &None));
    let response = denied.denied_response.unwrap();
    assert_eq!(response.status, Some(EnvoyHttpStatus { code: 403 }));
    assert_eq!(set(response.headers)["content-type"], "application/json");
    assert!(response.body.contains("RESOURCE_UNKNOWN"), "{}", response.body);

    // What no answer here has, but the tests' reader must know.
    let error = HttpResponse::ErrorResponse(DeniedHttpResponse::default());
    let error = CheckResponse { http_response: Some(error), ..CheckResponse::default() }.encode_to_vec();
    assert!(EnvoyResponse::decode(error.as_slice()).unwrap().error_response.is_some());
}

#[tokio::test]
async fn reflection_lists_and_describes_envoys_authorization() {
    let server = TestServer::start().await;
    let channel = server.channel(&server.svid("/somebody"));

    let mut client = ServerReflectionClient::new(channel.clone());
    let mut ask = async |request: MessageRequest| {
        let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
        answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap()
    };
    let listed = ask(MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
    assert!(listed.service.iter().any(|service| service.name == AUTHORIZATION), "{listed:?}");

    // The file of the service, and all that it imports: a client makes its messages of these.
    let mut files = BTreeSet::new();
    let mut open = vec![MessageRequest::FileContainingSymbol(AUTHORIZATION.to_owned())];
    while let Some(request) = open.pop() {
        let found = ask(request).await;
        let MessageResponse::FileDescriptorResponse(found) = found else { panic!("{found:?}") };
        for file in found.file_descriptor_proto {
            let file = FileDescriptorProto::decode(file.as_slice()).unwrap();
            if files.insert(file.name().to_owned()) {
                open.extend(file.dependency.into_iter().map(MessageRequest::FileByFilename));
            }
        }
    }
    let expected = [
        "envoy/config/core/v3/address.proto",
        "envoy/config/core/v3/base.proto",
        "envoy/service/auth/v3/attribute_context.proto",
        "envoy/service/auth/v3/external_auth.proto",
        "envoy/type/v3/http_status.proto",
        "google/protobuf/any.proto",
        "google/protobuf/struct.proto",
        "google/protobuf/wrappers.proto",
        "google/rpc/status.proto",
    ];
    assert_eq!(files.iter().map(String::as_str).collect::<Vec<_>>(), expected);

    let list = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let listed = answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(listed) = listed else {
        panic!("{listed:?}")
    };
    assert!(listed.service.iter().any(|service| service.name == AUTHORIZATION), "{listed:?}");
}

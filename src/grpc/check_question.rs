//! A `CheckRequest`, read without copying, and of its headers only those that a check looks at.

use crate::authority::decision;
use crate::authority::resources::Destination;
use crate::grpc::wire::Fields;
use crate::grpc::wire::Unreadable;
use crate::grpc::wire::Value;
use crate::proto::envoy::service::auth::v3::AttributeContext;

/// The most headers that are read here. A request with more of those that count is read by prost.
pub(super) const MOST_HEADERS: usize = 64;

/// The trace of the client, which a check may be part of.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// What is read of a message.
#[derive(Default)]
struct Read<'a> {
    method: &'a str,
    path: &'a str,
    host: &'a str,
    /// From the map of `headers`, where each name occurs once, and from `header_map`.
    headers: Vec<(&'a str, &'a [u8])>,
    raw: Vec<(&'a str, &'a [u8])>,
    certificate: &'a str,
    principal: &'a str,
    address: &'a str,
    destination: &'a str,
    resource: Option<&'a str>,
    is_http: bool,
}

/// Reads an encoded message. `None` if it describes no HTTP request.
pub(super) fn read(message: &[u8]) -> Result<Option<decision::CheckRequest<'_>>, Unreadable> {
    let (mut read, mut fields) = (Read::default(), Fields::of(message));
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            value.message(|number, value| read.attribute(number, value))?;
        }
    }
    let Read { method, path, host, mut headers, raw, certificate, principal, address, destination, resource, is_http } =
        read;
    if !is_http {
        return Ok(None);
    }
    headers.extend(raw);
    let destination = Destination { named: resource, principal: destination, authority: host };
    Ok(Some(decision::CheckRequest { destination, method, path, headers, certificate, principal, address }))
}

impl<'a> Read<'a> {
    /// `AttributeContext`
    fn attribute(&mut self, number: u32, value: Value<'a>) -> Result<(), Unreadable> {
        match number {
            1 => peer(value, &mut self.principal, &mut self.certificate, &mut self.address),
            2 => peer(value, &mut self.destination, &mut "", &mut ""),
            4 => value.message(|number, value| match number {
                2 => {
                    self.is_http = true;
                    value.message(|number, value| self.http(number, value))
                }
                _ => Ok(()),
            }),
            10 => {
                if let ("resource", named) = value.entry()? {
                    self.resource = Some(named);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// `AttributeContext.HttpRequest`
    fn http(&mut self, number: u32, value: Value<'a>) -> Result<(), Unreadable> {
        match number {
            2 => self.method = value.text()?,
            3 => {
                let (name, line) = value.entry()?;
                if is_read(name) {
                    match self.headers.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => *known = line.as_bytes(),
                        None => push(&mut self.headers, name, line.as_bytes())?,
                    }
                }
            }
            4 => self.path = value.text()?,
            5 => self.host = value.text()?,
            13 => value.message(|number, value| if number == 1 { self.raw_header(value) } else { Ok(()) })?,
            _ => {}
        }
        Ok(())
    }

    /// `HeaderValue`
    fn raw_header(&mut self, value: Value<'a>) -> Result<(), Unreadable> {
        let (mut name, mut text, mut raw) = ("", "", [].as_slice());
        value.message(|number, value| {
            match number {
                1 => name = value.text()?,
                2 => text = value.text()?,
                3 => raw = value.bytes()?,
                _ => {}
            }
            Ok(())
        })?;
        if is_read(name) { push(&mut self.raw, name, line(text, raw)) } else { Ok(()) }
    }
}

/// `AttributeContext.Peer`
fn peer<'a>(
    value: Value<'a>,
    principal: &mut &'a str,
    certificate: &mut &'a str,
    address: &mut &'a str,
) -> Result<(), Unreadable> {
    value.message(|number, value| {
        match number {
            1 => value.message(|number, value| if number == 1 { socket_address(value, address) } else { Ok(()) })?,
            4 => *principal = value.text()?,
            5 => *certificate = value.text()?,
            _ => {}
        }
        Ok(())
    })
}

/// `SocketAddress`
fn socket_address<'a>(value: Value<'a>, address: &mut &'a str) -> Result<(), Unreadable> {
    value.message(|number, value| {
        if number == 2 {
            *address = value.text()?;
        }
        Ok(())
    })
}

/// Whether a check looks at headers of this name.
pub(super) fn is_read(name: &str) -> bool {
    decision::is_read_in_checks(name) || TRACE.iter().any(|field| name.eq_ignore_ascii_case(field))
}

fn push<'a>(headers: &mut Vec<(&'a str, &'a [u8])>, name: &'a str, line: &'a [u8]) -> Result<(), Unreadable> {
    if headers.len() == MOST_HEADERS {
        return Err(Unreadable);
    }
    headers.push((name, line));
    Ok(())
}

/// The bytes of a header, of its two fields.
fn line<'a>(text: &'a str, raw: &'a [u8]) -> &'a [u8] {
    if raw.is_empty() { text.as_bytes() } else { raw }
}

/// The same of a message that prost has read.
pub(super) fn of(attributes: &AttributeContext) -> Option<decision::CheckRequest<'_>> {
    let http = attributes.request.as_ref()?.http.as_ref()?;
    let (source, destination) = (attributes.source.as_ref(), attributes.destination.as_ref());
    let address = source.and_then(|peer| peer.address.as_ref()?.socket_address.as_ref());
    // With Envoy's encode_raw_headers the headers are in `header_map`, otherwise in `headers`.
    let raw = http.header_map.iter().flat_map(|map| &map.headers);
    let raw = raw.map(|header| (header.key.as_str(), line(&header.value, &header.raw_value)));
    let headers = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).chain(raw);
    Some(decision::CheckRequest {
        destination: Destination {
            named: attributes.context_extensions.get("resource").map(String::as_str),
            principal: destination.map_or("", |peer| &peer.principal),
            authority: &http.host,
        },
        method: &http.method,
        path: &http.path,
        headers: headers.collect(),
        certificate: source.map_or("", |peer| &peer.certificate),
        principal: source.map_or("", |peer| &peer.principal),
        address: address.map_or("", |address| &address.address),
    })
}

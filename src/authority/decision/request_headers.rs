//! What a check reads of the headers of a request.

use std::borrow::Cow;

use crate::authority::decision::check::CheckRefusal;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::evidence::InvalidForwardedCertificate;

/// All values of the headers with one name.
fn values<'a>(headers: &[(&str, &'a [u8])], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

/// Joins the lines of a list header into one value (RFC 9110 section 5.3). Nearly always there is one line.
pub(in crate::authority) fn joined<'a>(
    headers: &[(&str, &'a [u8])],
    name: &str,
) -> Result<Cow<'a, str>, InvalidEvidence> {
    let unprintable = InvalidEvidence::Forwarded(InvalidForwardedCertificate::Unprintable);
    let mut lines = values(headers, name);
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    let Some(second) = second else { return str::from_utf8(first).map(Cow::Borrowed).map_err(|_| unprintable) };
    let lines: Vec<&[u8]> = [first, second].into_iter().chain(lines).collect();
    String::from_utf8(lines.join(&b","[..])).map(Cow::Owned).map_err(|_| unprintable)
}

/// The token in the one `authorization` header (RFC 6750 section 2.1): the scheme in any case, one or more spaces, and
/// a `b64token`. A `b64token` contains no comma, so two headers that a proxy joined are detected. Neither a form nor
/// the query is read (sections 2.2 and 2.3).
pub(in crate::authority) fn bearer_token<'a>(headers: &'a [(&str, &'a [u8])]) -> Result<&'a str, CheckRefusal> {
    let mut lines = values(headers, "authorization");
    let line = lines.next().ok_or(CheckRefusal::TokenMissing)?;
    if lines.next().is_some() {
        return Err(CheckRefusal::AuthorizationMalformed);
    }
    let line = str::from_utf8(line).map_err(|_| CheckRefusal::AuthorizationMalformed)?;
    let (scheme, rest) = line.split_once(' ').unwrap_or((line, ""));
    if line.contains(',') {
        return Err(CheckRefusal::AuthorizationMalformed);
    }
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(CheckRefusal::TokenMissing);
    }
    let token = rest.trim_start_matches(' ');
    let symbols = token.trim_end_matches('=');
    let well_formed = !symbols.is_empty() && are_symbols(symbols.as_bytes());
    if well_formed { Ok(token) } else { Err(CheckRefusal::AuthorizationMalformed) }
}

/// Whether each byte is one of a `b64token`. They are looked at in pieces of one length, which the compiler does at once.
fn are_symbols(bytes: &[u8]) -> bool {
    let (pieces, rest) = bytes.as_chunks::<32>();
    pieces.iter().all(|piece| piece.map(symbol) == [1; 32]) && rest.iter().all(|byte| symbol(*byte) == 1)
}

/// 1 if a byte is one of a `b64token`, else 0; without branches.
fn symbol(byte: u8) -> u8 {
    let is = |symbol: u8| u8::from(byte == symbol);
    let is_letter = u8::from((byte | 0x20).wrapping_sub(b'a') < 26);
    let is_digit = u8::from(byte.wrapping_sub(b'0') < 10);
    is_letter | is_digit | is(b'-') | is(b'.') | is(b'_') | is(b'~') | is(b'+') | is(b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_at_any_place_that_is_no_symbol_is_found() {
        for length in [1, 31, 32, 33, 64, 70] {
            let text = "aZ09-._~+/".repeat(7);
            let text = &text.as_bytes()[..length];
            assert!(are_symbols(text), "{length}");
            for place in 0..length {
                for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric() && !b"-._~+/".contains(byte)) {
                    let mut wrong = text.to_vec();
                    wrong[place] = byte;
                    assert!(!are_symbols(&wrong), "{byte} at {place} of {length}");
                }
            }
        }
    }
}

//! The header of a transaction token (draft-ietf-oauth-transaction-tokens section 12.1).

/// The header of a transaction token (section 12.1).
pub const TXN_TOKEN_HEADER: &str = "txn-token";

/// The header in another spelling, which some servers read as the same.
const UNDERSCORED: &str = "txn_token";

/// The headers to remove where a client's own transaction token may not reach a service.
pub(in crate::authority) const TXN_TOKEN_HEADERS: [&str; 2] = [TXN_TOKEN_HEADER, UNDERSCORED];

/// A transaction token that came in the header of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::authority) enum PresentedTxn<'a> {
    Nothing,
    /// One header with one token.
    One(&'a str),
    /// Several, or something else.
    Malformed,
}

/// What a transaction is, as an allowed check says it to the service.
#[derive(Clone, Eq, PartialEq)]
pub struct AssertedTxn {
    /// The identifier of the transaction.
    pub txn: String,
    /// Whom it is for.
    pub subject: String,
    /// The transaction token, where the check has minted it. Where it has not, the one that came is passed on.
    pub minted: Option<String>,
}

/// Tokens are never logged.
impl std::fmt::Debug for AssertedTxn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AssertedTxn").field("txn", &self.txn).finish_non_exhaustive()
    }
}

/// Whether a header is that of transaction tokens, in any spelling that servers treat as equivalent.
pub(in crate::authority) fn is_txn_header(name: &str) -> bool {
    TXN_TOKEN_HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header))
}

/// The transaction token of a request. Of all spellings there is one header, with one token and nothing else: no second one after
/// a comma, and no scheme before it.
pub(in crate::authority) fn presented_txn<'a>(headers: &[(&str, &'a [u8])]) -> PresentedTxn<'a> {
    let mut lines = headers.iter().filter(|(name, _)| is_txn_header(name));
    let Some((name, line)) = lines.next() else { return PresentedTxn::Nothing };
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_one = lines.next().is_none()
        && name.eq_ignore_ascii_case(TXN_TOKEN_HEADER)
        && !line.is_empty()
        && line.iter().all(of_token);
    str::from_utf8(line).ok().filter(|_| is_one).map_or(PresentedTxn::Malformed, PresentedTxn::One)
}

#[cfg(test)]
mod tests {
    use super::*;

    // X22, TT-32
    #[test]
    fn a_transaction_token_is_read_from_exactly_one_header_with_nothing_else_in_it() {
        let of = |headers: &[(&'static str, &'static str)]| {
            let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, line)| (*name, line.as_bytes())).collect();
            presented_txn(&headers)
        };
        for one in [[("txn-token", "a.b-c_.d")], [("Txn-Token", "a.b-c_.d")], [("TXN-TOKEN", "a.b-c_.d")]] {
            assert_eq!(of(&one), PresentedTxn::One("a.b-c_.d"), "{one:?}");
        }
        for none in
            [&[][..], &[("txn-tokens", "a")], &[("x-txn-token", "a")], &[("txn--token", "a")], &[("txntoken", "a")]]
        {
            assert_eq!(of(none), PresentedTxn::Nothing, "{none:?}");
        }
        for malformed in [
            &[("txn-token", "")][..],
            &[("txn_token", "a.b.c")],
            &[("Txn_Token", "a.b.c")],
            &[("txn-token", "a.b.c"), ("txn-token", "a.b.c")],
            &[("txn-token", "a.b.c"), ("Txn-Token", "d.e.f")],
            &[("txn-token", "a.b.c"), ("txn_token", "d.e.f")],
            &[("txn-token", "a.b.c,a.b.c")],
            &[("txn-token", "a.b.c, d.e.f")],
            &[("txn-token", "Bearer a.b.c")],
            &[("txn-token", "a.b.c ")],
            &[("txn-token", "\"a.b.c\"")],
            &[("txn-token", "a.b.c;q=1")],
            &[("txn-token", "a.b.é")],
        ] {
            assert_eq!(of(malformed), PresentedTxn::Malformed, "{malformed:?}");
        }
        assert_eq!(presented_txn(&[("txn-token", b"a\xff")]), PresentedTxn::Malformed);
    }
}

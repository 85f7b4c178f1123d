//! What to do about a check that is denied because of a transaction token. `RESOURCE` stands for what it names.

pub(super) const MISSING: &str = "have the caller pass on the transaction token that it got, or let an edge mint one: `txn` of a route; if requests \
     may come without one, `txn_token: accept`: `lanyard resource get RESOURCE`";

pub(super) const MALFORMED: &str =
    "send one `txn-token` header, with the transaction token alone in it, and none in another spelling";

pub(super) const NOT_OURS: &str = "pass on a transaction token of this server for its trust domain: `lanyard token inspect` shows what was sent, \
     `txn_tokens` of the server's configuration the trust domain";

pub(super) const EXPIRED: &str =
    "begin the transaction again at the edge; if calls take longer, raise `txn_tokens.ttl`, or `ttl` of the rule";

pub(super) const REVOKED: &str =
    "begin the transaction again with a new token: what it was minted for no longer counts: `lanyard revocation list`";

pub(super) const SCOPE_MISSING: &str = "have the edge mint a transaction with the `txn_scope` of the route, if the call is part of it: \
     `lanyard resource get RESOURCE`";

pub(super) const SEEN: &str = "find out who sent it again: retries of the proxy count too; where they are wanted, leave `txn_once` out: \
     `lanyard resource get RESOURCE`";

pub(super) const CONTEXT_REFUSED: &str =
    "send a path whose variables have 256 bytes at most, and no token or key in them";

pub(super) const NOT_MINTED: &str = "look into the server's log for the cause: no `txn_tokens` in the configuration, no key that signs in time, or a proxy \
     that reports no address";

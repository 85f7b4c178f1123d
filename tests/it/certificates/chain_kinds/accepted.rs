//! The kinds that are accepted.

use crate::certificates::chain_kinds::GOOD;
use crate::certificates::chain_kinds::Kind;
use crate::certificates::chain_kinds::any;
use crate::certificates::chain_kinds::ca;
use crate::certificates::chain_kinds::exclude;
use crate::certificates::chain_kinds::leaf;
use crate::certificates::chain_kinds::permit;
use crate::certificates::chain_kinds::rename;
use crate::certificates::chain_kinds::root;
use crate::support::NOW;
use crate::support::made::DIRECTORY;
use crate::support::made::DNS;
use crate::support::made::EMAIL;
use crate::support::made::Extension;
use crate::support::made::IP;
use crate::support::made::URI;
use crate::support::made::name;

pub const KINDS: &[Kind] = &[
    GOOD,
    Kind { name: "no keyUsage on the root", change: |chain, _| root(chain).remove(15), ..GOOD },
    Kind { name: "the first second", change: |chain, random| any(chain, random).not_before = NOW, ..GOOD },
    Kind {
        name: "the last second",
        openssl: false,
        why: "openssl lets a certificate end a second before notAfter (RFC 5280 section 4.1.2.5: it is included)",
        change: |chain, random| any(chain, random).not_after = NOW,
        ..GOOD
    },
    Kind { name: "a root of version 1", change: |chain, _| root(chain).version_1(), ..GOOD },
    Kind {
        name: "the right path length",
        change: |chain, _| {
            let last = chain.len() - 1;
            for (place, made) in chain.iter_mut().enumerate().take(last) {
                made.put(Extension::basic_constraints(true, u8::try_from(last - 1 - place).ok()));
            }
        },
        ..GOOD
    },
    Kind {
        name: "a self-issued CA beyond the path length",
        least_cas: 2,
        webpki: false,
        why: "webpki counts self-issued CAs too",
        change: |chain, _| {
            let last = chain.len() - 1;
            chain[last - 1].subject = chain[last - 2].subject.clone();
            chain[last - 2].put(Extension::basic_constraints(true, Some(0)));
        },
        ..GOOD
    },
    Kind {
        name: "names of issuers in other bytes",
        webpki: false,
        why: "webpki compares the bytes of names (RFC 5280 section 7.1 does not)",
        change: |chain, random| {
            let place = 1 + random.below(chain.len() - 1);
            let unique = random.next().to_string();
            chain[place - 1].subject = name(&[(10, 0x0c, &unique), (3, 0x0c, "Corp  One")]);
            chain[place].issuer = Some(name(&[(10, 0x13, &unique), (3, 0x13, "corp one")]));
        },
        ..GOOD
    },
    Kind {
        name: "an extension that is not critical",
        change: |chain, random| any(chain, random).put(Extension::unknown(false)),
        ..GOOD
    },
    Kind {
        name: "critical policies",
        webpki: false,
        why: "webpki does not process certificatePolicies",
        least_cas: 1,
        change: |chain, random| {
            let policies = Extension::policies(true, &[1, 2]);
            if random.below(2) == 0 { leaf(chain).put(policies) } else { ca(chain, random).put(policies) }
        },
        ..GOOD
    },
    Kind {
        name: "a demanded policy that all have",
        webpki: false,
        why: "webpki does not process certificatePolicies",
        least_cas: 1,
        change: |chain, _| {
            for made in &mut chain[1..] {
                made.put(Extension::policies(true, &[1]));
            }
            chain[1].put(Extension::policy_constraints(Some(0), None));
        },
        ..GOOD
    },
    Kind {
        name: "an SVID within a permitted host",
        only_svid: true,
        webpki: false,
        why: "webpki accepts no constraint over URIs",
        change: |chain, random| permit(chain, random, URI, b"dev.test"),
        ..GOOD
    },
    Kind {
        name: "a DNS name within a permitted one",
        only_client: true,
        change: |chain, random| permit(chain, random, DNS, b"dev.test"),
        ..GOOD
    },
    Kind {
        name: "a DNS name outside of an excluded one",
        only_client: true,
        change: |chain, random| exclude(chain, random, DNS, b"b.dev.test"),
        ..GOOD
    },
    Kind {
        name: "an address within a permitted network",
        only_client: true,
        change: |chain, random| {
            rename(chain, &[(IP, &[10, 1, 2, 3])]);
            permit(chain, random, IP, &[10, 0, 0, 0, 255, 0, 0, 0]);
        },
        ..GOOD
    },
    Kind {
        name: "a mailbox within a permitted host",
        only_client: true,
        webpki: false,
        why: "webpki accepts no constraint over mailboxes",
        change: |chain, random| {
            rename(chain, &[(EMAIL, b"a@dev.test")]);
            permit(chain, random, EMAIL, b"dev.test");
        },
        ..GOOD
    },
    Kind {
        name: "a subject within a permitted name",
        webpki: false,
        why: "webpki accepts no constraint over directory names",
        change: |chain, random| {
            root(chain).put(Extension::name_constraints(&[(DIRECTORY, &name(&[(10, 0x0c, "Corp")]))], &[]));
            for made in &mut chain[1..] {
                made.subject = name(&[(10, 0x0c, "Corp"), (3, 0x0c, &random.next().to_string())]);
            }
        },
        ..GOOD
    },
];

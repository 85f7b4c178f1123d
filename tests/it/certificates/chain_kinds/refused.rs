//! The kinds that are refused.

use crate::certificates::chain_kinds::BAD;
use crate::certificates::chain_kinds::FUTURE;
use crate::certificates::chain_kinds::GOOD;
use crate::certificates::chain_kinds::Kind;
use crate::certificates::chain_kinds::NO_ANCHOR;
use crate::certificates::chain_kinds::NO_KEY_USAGE;
use crate::certificates::chain_kinds::PAST;
use crate::certificates::chain_kinds::SPIFFE;
use crate::certificates::chain_kinds::ca;
use crate::certificates::chain_kinds::exclude;
use crate::certificates::chain_kinds::leaf;
use crate::certificates::chain_kinds::permit;
use crate::certificates::chain_kinds::rename;
use crate::certificates::chain_kinds::root;
use crate::support::made::CLIENT_AUTH;
use crate::support::made::CRL_SIGN;
use crate::support::made::DIGITAL_SIGNATURE;
use crate::support::made::DIRECTORY;
use crate::support::made::DNS;
use crate::support::made::EMAIL;
use crate::support::made::Extension;
use crate::support::made::IP;
use crate::support::made::KEY_CERT_SIGN;
use crate::support::made::SERVER_AUTH;
use crate::support::made::URI;
use crate::support::made::common_name;
use crate::support::made::name;

pub const KINDS: &[Kind] = &[
    Kind {
        name: "a leaf that has expired",
        lanyard: Err("EXPIRED"),
        change: |chain, _| leaf(chain).not_after = PAST,
        ..BAD
    },
    Kind {
        name: "a leaf that is not valid yet",
        lanyard: Err("NOT_YET_VALID"),
        change: |chain, _| leaf(chain).not_before = FUTURE,
        ..BAD
    },
    Kind {
        name: "a CA that has expired",
        least_cas: 1,
        lanyard: Err("ISSUER_EXPIRED"),
        change: |chain, random| ca(chain, random).not_after = PAST,
        ..BAD
    },
    Kind {
        name: "a CA that is not valid yet",
        least_cas: 1,
        lanyard: Err("ISSUER_NOT_YET_VALID"),
        change: |chain, random| ca(chain, random).not_before = FUTURE,
        ..BAD
    },
    Kind {
        name: "a root that has expired",
        lanyard: Err("ISSUER_EXPIRED"),
        webpki: true,
        why: NO_ANCHOR,
        change: |chain, _| root(chain).not_after = PAST,
        ..BAD
    },
    Kind {
        name: "a CA without cA",
        least_cas: 1,
        lanyard: Err("ISSUER_NOT_CA"),
        change: |chain, random| ca(chain, random).put(Extension::basic_constraints(false, None)),
        ..BAD
    },
    Kind {
        name: "a CA without basicConstraints",
        least_cas: 1,
        lanyard: Err("ISSUER_NOT_CA"),
        change: |chain, random| ca(chain, random).remove(19),
        ..BAD
    },
    Kind {
        name: "a CA of version 1",
        least_cas: 1,
        lanyard: Err("ISSUER_NOT_CA"),
        change: |chain, random| ca(chain, random).version_1(),
        ..BAD
    },
    Kind {
        name: "a CA without keyCertSign",
        least_cas: 1,
        lanyard: Err("ISSUER_KEY_USAGE"),
        webpki: true,
        why: NO_KEY_USAGE,
        change: |chain, random| ca(chain, random).put(Extension::key_usage(CRL_SIGN)),
        ..BAD
    },
    Kind {
        name: "an SVID's CA without keyUsage",
        least_cas: 1,
        only_svid: true,
        lanyard: Err("ISSUER_KEY_USAGE"),
        openssl: true,
        webpki: true,
        why: SPIFFE,
        change: |chain, random| ca(chain, random).remove(15),
        ..BAD
    },
    Kind {
        name: "another's CA without keyUsage",
        least_cas: 1,
        only_client: true,
        change: |chain, random| ca(chain, random).remove(15),
        ..GOOD
    },
    Kind {
        name: "a root without keyCertSign",
        lanyard: Err("ANCHOR"),
        webpki: true,
        why: NO_ANCHOR,
        change: |chain, _| root(chain).put(Extension::key_usage(DIGITAL_SIGNATURE)),
        ..BAD
    },
    Kind {
        name: "a path length below a CA",
        least_cas: 2,
        lanyard: Err("PATH_LENGTH"),
        change: |chain, _| chain[1].put(Extension::basic_constraints(true, Some(0))),
        ..BAD
    },
    Kind {
        name: "a path length below the root",
        least_cas: 1,
        lanyard: Err("PATH_LENGTH"),
        webpki: true,
        why: NO_ANCHOR,
        change: |chain, _| root(chain).put(Extension::basic_constraints(true, Some(0))),
        ..BAD
    },
    Kind {
        name: "a broken signature",
        lanyard: Err("NO_PATH"),
        change: |chain, random| {
            let place = 1 + random.below(chain.len() - 1);
            chain[place].broken_signature = true;
        },
        ..BAD
    },
    Kind {
        name: "another issuer",
        lanyard: Err("NO_PATH"),
        change: |chain, random| {
            let place = 1 + random.below(chain.len() - 1);
            chain[place].issuer = Some(common_name("no such CA"));
        },
        ..BAD
    },
    Kind {
        name: "another algorithm within",
        least_cas: 1,
        lanyard: Err("NO_PATH"),
        change: |chain, random| {
            ca(chain, random).inner_algorithm = Some(vec![0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4]);
        },
        ..BAD
    },
    Kind {
        name: "a critical extension that is not known",
        least_cas: 1,
        lanyard: Err("CRITICAL_EXTENSION"),
        change: |chain, random| {
            let place = 1 + random.below(chain.len() - 1);
            chain[place].put(Extension::unknown(true));
        },
        ..BAD
    },
    Kind {
        name: "a CA with the SPIFFE ID of a workload",
        least_cas: 1,
        lanyard: Err("ISSUER_SPIFFE_ID"),
        openssl: true,
        webpki: true,
        why: SPIFFE,
        change: |chain, random| ca(chain, random).put(Extension::names(&[(URI, b"spiffe://dev.test/admin")])),
        ..BAD
    },
    Kind {
        name: "a leaf with keyCertSign",
        lanyard: Err("SIGNING_CERTIFICATE"),
        openssl: true,
        webpki: true,
        why: SPIFFE,
        change: |chain, _| leaf(chain).put(Extension::key_usage(DIGITAL_SIGNATURE | KEY_CERT_SIGN)),
        ..BAD
    },
    Kind {
        name: "a leaf that is a CA",
        lanyard: Err("SIGNING_CERTIFICATE"),
        openssl: true,
        why: "openssl accepts a CA as a leaf",
        change: |chain, _| leaf(chain).put(Extension::basic_constraints(true, None)),
        ..BAD
    },
    Kind {
        name: "a leaf for servers",
        lanyard: Err("EXTENDED_KEY_USAGE"),
        change: |chain, _| leaf(chain).put(Extension::extended_key_usage(&[SERVER_AUTH])),
        ..BAD
    },
    Kind {
        name: "a CA for servers",
        least_cas: 1,
        lanyard: Err("ISSUER_EXTENDED_KEY_USAGE"),
        change: |chain, random| ca(chain, random).put(Extension::extended_key_usage(&[SERVER_AUTH])),
        ..BAD
    },
    Kind {
        name: "a CA for clients",
        least_cas: 1,
        change: |chain, random| ca(chain, random).put(Extension::extended_key_usage(&[CLIENT_AUTH])),
        ..GOOD
    },
    Kind {
        name: "an SVID outside of a permitted host",
        only_svid: true,
        lanyard: Err("NAME_CONSTRAINTS"),
        change: |chain, random| permit(chain, random, URI, b"prod.test"),
        ..BAD
    },
    Kind {
        name: "an SVID within an excluded host",
        only_svid: true,
        lanyard: Err("NAME_CONSTRAINTS"),
        change: |chain, random| exclude(chain, random, URI, b"dev.test"),
        ..BAD
    },
    Kind {
        name: "a DNS name outside of a permitted one",
        only_client: true,
        lanyard: Err("NAME_CONSTRAINTS"),
        change: |chain, random| permit(chain, random, DNS, b"prod.test"),
        ..BAD
    },
    Kind {
        name: "an address outside of a permitted network",
        only_client: true,
        lanyard: Err("NAME_CONSTRAINTS"),
        change: |chain, random| {
            rename(chain, &[(IP, &[11, 1, 2, 3])]);
            permit(chain, random, IP, &[10, 0, 0, 0, 255, 0, 0, 0]);
        },
        ..BAD
    },
    Kind {
        name: "a mailbox outside of a permitted host",
        only_client: true,
        lanyard: Err("NAME_CONSTRAINTS"),
        change: |chain, random| {
            rename(chain, &[(EMAIL, b"a@prod.test")]);
            permit(chain, random, EMAIL, b"dev.test");
        },
        ..BAD
    },
    Kind {
        name: "a subject outside of a permitted name",
        lanyard: Err("NAME_CONSTRAINTS"),
        change: |chain, random| permit(chain, random, DIRECTORY, &name(&[(10, 0x0c, "Another")])),
        ..BAD
    },
    Kind {
        name: "a demanded policy that is missing",
        least_cas: 1,
        lanyard: Err("POLICY_REQUIRED"),
        change: |chain, _| chain[1].put(Extension::policy_constraints(Some(0), None)),
        ..BAD
    },
    Kind {
        name: "a leaf of version 1",
        alone: true,
        only_client: true,
        lanyard: Err("UNSUPPORTED_VERSION"),
        openssl: true,
        why: "openssl accepts a leaf that does not say what it is for",
        change: |chain, _| leaf(chain).version_1(),
        ..BAD
    },
];

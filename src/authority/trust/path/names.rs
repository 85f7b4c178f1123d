//! Name constraints (RFC 5280 section 4.2.1.10): what names a CA may issue.

use std::net::Ipv4Addr;
use std::str;

use crate::authority::identity::DistinguishedName;
use crate::authority::trust::path::budget::Budget;
use crate::authority::trust::path::der;
use crate::authority::trust::path::der::Element;
use crate::authority::trust::path::der::Malformed;
use crate::authority::trust::path::name::Name;
use crate::authority::trust::unproven::Unproven;

/// The tags of `GeneralName` (section 4.2.1.6).
const EMAIL: u32 = 1;
const DNS: u32 = 2;
const DIRECTORY: u32 = 4;
pub(super) const URI: u32 = 6;
const IP: u32 = 7;

/// A name of a certificate: its tag in `GeneralName`, and its content.
#[derive(Debug)]
pub(super) struct GeneralName {
    pub(super) tag: u32,
    pub(super) content: Box<[u8]>,
}

/// The constraints of one CA.
#[derive(Debug, Default)]
pub(super) struct NameConstraints {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

/// A part of the names of one form.
#[derive(Debug)]
enum Subtree {
    /// A mailbox, a host, or the hosts below `.domain`.
    Email(String),
    /// A name and all below it; only those below where it begins with a dot. Empty: every name.
    Dns(String),
    /// The names that begin with this one; `None`: every name.
    Directory(Option<DistinguishedName>),
    /// A host, or the hosts below `.domain`.
    Uri(String),
    /// An address and its mask.
    Ip(Vec<(u8, u8)>),
}

/// The constraints cannot be processed: their DER is broken, a form of name or a distance is not supported, or a
/// subtree is not written as its form demands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unsupported;

impl From<Malformed> for Unsupported {
    fn from(Malformed: Malformed) -> Self {
        Self
    }
}

impl NameConstraints {
    /// Parses the extension. In one that is not critical, forms that are not supported are left out.
    pub(super) fn parse(extension: &[u8], critical: bool) -> Result<Self, Unsupported> {
        let mut constraints = Self::default();
        for part in der::all(der::only(extension)?)? {
            let subtrees = match part.context {
                Some(0) => &mut constraints.permitted,
                Some(1) => &mut constraints.excluded,
                Some(_) | None => return Err(Unsupported),
            };
            for subtree in der::all(part.content)? {
                let mut content = subtree.content;
                let base = der::first(&mut content)?;
                // minimum is 0, and maximum absent: no other distance is used.
                if !content.is_empty() {
                    return Err(Unsupported);
                }
                match Subtree::parse(base)? {
                    Some(subtree) => subtrees.push(subtree),
                    None if critical => return Err(Unsupported),
                    None => {}
                }
            }
        }
        Ok(constraints)
    }

    /// Whether every name is allowed.
    pub(super) fn is_empty(&self) -> bool {
        self.permitted.is_empty() && self.excluded.is_empty()
    }

    /// Checks the alternative names and the subject of a certificate below the CA.
    pub(super) fn check(
        &self,
        alternatives: &[GeneralName],
        subject: &Name,
        budget: &mut Budget,
    ) -> Result<(), Unproven> {
        for name in alternatives {
            self.check_name(name.tag, &name.content, budget)?;
        }
        if !subject.is_empty() {
            self.check_name(DIRECTORY, subject.der(), budget)?;
        }
        // Section 4.2.1.10 asks for this where there is no rfc822Name. A mailbox in a subject is one all the same.
        if self.has_form(EMAIL) {
            for mailbox in mailboxes(subject.der()).map_err(|Malformed| Unproven::NameConstraints)? {
                self.check_name(EMAIL, mailbox, budget)?;
            }
        }
        Ok(())
    }

    fn has_form(&self, tag: u32) -> bool {
        self.permitted.iter().chain(&self.excluded).any(|subtree| subtree.tag() == tag)
    }

    fn check_name(&self, tag: u32, content: &[u8], budget: &mut Budget) -> Result<(), Unproven> {
        if !self.has_form(tag) {
            return Ok(());
        }
        let name = Presented::parse(tag, content).ok_or(Unproven::NameConstraints)?;
        let (mut limited, mut permitted) = (false, false);
        for subtree in self.permitted.iter().filter(|subtree| subtree.tag() == tag) {
            budget.compare_names()?;
            limited = true;
            permitted = permitted || subtree.contains(&name, false);
        }
        if limited && !permitted {
            return Err(Unproven::NameConstraints);
        }
        for subtree in self.excluded.iter().filter(|subtree| subtree.tag() == tag) {
            budget.compare_names()?;
            if subtree.contains(&name, true) {
                return Err(Unproven::NameConstraints);
            }
        }
        Ok(())
    }
}

impl Subtree {
    /// `None` if the form is not supported.
    fn parse(base: Element<'_>) -> Result<Option<Self>, Unsupported> {
        let Some(tag) = base.context else { return Err(Unsupported) };
        Ok(Some(match tag {
            EMAIL if base.content.is_empty() => return Err(Unsupported),
            EMAIL => Self::Email(lower_host(ascii(base.content)?)),
            DNS => Self::Dns(without_last_dot(ascii(base.content)?).to_ascii_lowercase()),
            DIRECTORY if *base.content == [0x30, 0] => Self::Directory(None),
            DIRECTORY => {
                let name = DistinguishedName::from_der(base.content).map_err(|_| Unsupported)?;
                Self::Directory(Some(name))
            }
            URI => {
                let host = without_last_dot(ascii(base.content)?);
                // A URI where a host belongs is a common mistake, which would exclude nothing.
                if host.is_empty() || host.contains([':', '/', '@', '%']) {
                    return Err(Unsupported);
                }
                Self::Uri(host.to_ascii_lowercase())
            }
            IP => Self::Ip(network(base.content).ok_or(Unsupported)?),
            _ => return Ok(None),
        }))
    }

    fn tag(&self) -> u32 {
        match self {
            Self::Email(_) => EMAIL,
            Self::Dns(_) => DNS,
            Self::Directory(_) => DIRECTORY,
            Self::Uri(_) => URI,
            Self::Ip(_) => IP,
        }
    }

    /// Whether a name of the same form is in the subtree. A wildcard is in an excluded subtree if one of the names that
    /// it matches is, and in a permitted one if all are.
    fn contains(&self, name: &Presented<'_>, any_of_wildcard: bool) -> bool {
        match (self, name) {
            (Self::Email(subtree), Presented::Email { mailbox, host }) => {
                if subtree.contains('@') {
                    subtree == mailbox
                } else {
                    is_host_in(host, subtree)
                }
            }
            (Self::Dns(subtree), Presented::Dns(name)) => {
                let covered = any_of_wildcard
                    && name
                        .strip_prefix('*')
                        .is_some_and(|parent| subtree.strip_suffix(parent).is_some_and(|label| !label.contains('.')));
                covered || is_at_or_below(name, subtree)
            }
            (Self::Directory(subtree), Presented::Directory(name)) => {
                subtree.as_ref().is_none_or(|subtree| name.begins_with(subtree))
            }
            (Self::Uri(subtree), Presented::Uri(host)) => is_host_in(host, subtree),
            (Self::Ip(network), Presented::Ip(address)) => {
                network.len() == address.len()
                    && network.iter().zip(*address).all(|((base, mask), byte)| base & mask == byte & mask)
            }
            // The caller compares names of the same form only.
            (Self::Email(_) | Self::Dns(_) | Self::Directory(_) | Self::Uri(_) | Self::Ip(_), _) => any_of_wildcard,
        }
    }
}

/// A certificate's name, parsed for comparison.
enum Presented<'a> {
    Email { mailbox: String, host: String },
    Dns(String),
    Directory(DistinguishedName),
    Uri(String),
    Ip(&'a [u8]),
}

impl<'a> Presented<'a> {
    /// `None` if the name is not written as its form demands, so that it is in no permitted subtree.
    fn parse(tag: u32, content: &'a [u8]) -> Option<Self> {
        Some(match tag {
            EMAIL => {
                let mailbox = lower_host(ascii(content).ok()?);
                let (_, host) = mailbox.rsplit_once('@')?;
                Self::Email { host: host.to_owned(), mailbox }
            }
            DNS => Self::Dns(without_last_dot(ascii(content).ok()?).to_ascii_lowercase()),
            DIRECTORY => Self::Directory(DistinguishedName::from_der(content).ok()?),
            URI => Self::Uri(host_of(ascii(content).ok()?)?),
            IP => Self::Ip(content),
            _ => return None,
        })
    }
}

/// The host of a URI. Section 4.2.1.10: a URI without one, or whose host is an address, is in no subtree.
fn host_of(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once(':')?;
    let authority = rest.strip_prefix("//")?.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let host = without_last_dot(host);
    let is_name = !host.is_empty() && !host.contains(['[', '%', '\\']) && host.parse::<Ipv4Addr>().is_err();
    is_name.then(|| host.to_ascii_lowercase())
}

/// Whether a host is this one, or below `.domain`.
fn is_host_in(host: &str, subtree: &str) -> bool {
    if subtree.starts_with('.') { host.len() > subtree.len() && host.ends_with(subtree) } else { host == subtree }
}

fn is_at_or_below(name: &str, subtree: &str) -> bool {
    if subtree.is_empty() || name == subtree {
        return true;
    }
    name.strip_suffix(subtree).is_some_and(|above| {
        // With a dot in front only what is below.
        if subtree.starts_with('.') { !above.is_empty() } else { above.ends_with('.') }
    })
}

fn without_last_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// The host of a mailbox in lower case. The part before `@` is case-sensitive (section 7.5).
fn lower_host(mailbox: &str) -> String {
    match mailbox.rsplit_once('@') {
        Some((local, host)) => format!("{local}@{}", host.to_ascii_lowercase()),
        None => mailbox.to_ascii_lowercase(),
    }
}

fn ascii(content: &[u8]) -> Result<&str, Unsupported> {
    str::from_utf8(content).ok().filter(|text| text.is_ascii()).ok_or(Unsupported)
}

/// The bytes of an address, each with those of its mask, which has all its ones first.
fn network(content: &[u8]) -> Option<Vec<(u8, u8)>> {
    let (address, mask) = match content.len() {
        8 | 32 => content.split_at(content.len() / 2),
        _ => return None,
    };
    let ends = mask.iter().skip_while(|byte| **byte == 0xff);
    let mut after = ends.clone().skip(1);
    let border = ends.clone().next().is_none_or(|byte| byte.leading_ones() + byte.trailing_zeros() == 8);
    let contiguous = border && after.all(|byte| *byte == 0);
    contiguous.then(|| address.iter().copied().zip(mask.iter().copied()).collect())
}

/// The values of emailAddress (RFC 2985) in a subject.
fn mailboxes(subject: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    const EMAIL_ADDRESS: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
    let mut found = Vec::new();
    for relative in der::all(der::only(subject)?)? {
        for attribute in der::all(relative.content)? {
            if let [kind, value] = der::all(attribute.content)?.as_slice()
                && *kind.content == EMAIL_ADDRESS
            {
                found.push(value.content);
            }
        }
    }
    Ok(found)
}

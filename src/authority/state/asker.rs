//! Who asks for a decision on somebody's token.

use crate::authority::access::CallerIdentity;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::Roles;
use crate::authority::access::Sender;
use crate::authority::state::caller::Caller;
use crate::authority::state::view::View;

/// A caller, or a proxy on this machine, at the time of its request. It asks for decisions, and nothing else: whatever takes
/// a [`Caller`] has a certificate to go by.
#[derive(Clone, Debug)]
pub struct Asker {
    /// What is known of it.
    pub identity: CallerIdentity,
    /// The roles that it holds.
    pub roles: Roles,
    /// The view by which its request is decided.
    pub view: View,
    /// The connection that its request came on.
    pub connection: ConnectionInfo,
}

impl Asker {
    /// The asker as the records of refusals name it.
    pub fn sender(&self) -> Sender {
        Sender { identity: Some(self.identity.clone()), connection: self.connection }
    }
}

impl From<Caller> for Asker {
    fn from(caller: Caller) -> Self {
        let Caller { identity, roles, view, connection, .. } = caller;
        Self { identity: CallerIdentity::Certificate(identity), roles, view, connection }
    }
}

/// Whom the access table admits to a method.
#[derive(Clone, Debug)]
pub enum Admitted {
    /// The holder of a certificate.
    Caller(Caller),
    /// A proxy on this machine.
    Local(Asker),
}

impl Admitted {
    /// The same on its connection.
    #[must_use]
    pub fn on(self, connection: ConnectionInfo) -> Self {
        match self {
            Self::Caller(caller) => Self::Caller(Caller { connection, ..caller }),
            Self::Local(asker) => Self::Local(Asker { connection, ..asker }),
        }
    }

    /// The roles that it holds.
    pub fn roles(&self) -> &Roles {
        match self {
            Self::Caller(caller) => &caller.roles,
            Self::Local(asker) => &asker.roles,
        }
    }

    /// The holder of a certificate, if it is one.
    pub fn into_caller(self) -> Option<Caller> {
        match self {
            Self::Caller(caller) => Some(caller),
            Self::Local(_) => None,
        }
    }
}

impl From<Admitted> for Asker {
    fn from(admitted: Admitted) -> Self {
        match admitted {
            Admitted::Caller(caller) => caller.into(),
            Admitted::Local(asker) => asker,
        }
    }
}

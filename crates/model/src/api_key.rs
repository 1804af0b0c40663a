//! API keys: what Cloud at Cost clients prove themselves with, and from where.

use crate::network::Network;
use crate::{AccountId, ApiKeyId, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A key as the house knows it; the key itself was shown once and is known to nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it is.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// How the key begins, so that its owner can tell which one it is.
    pub prefix: String,
    /// From where it may be used; from nowhere while this is empty.
    pub networks: Vec<Network>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, within a minute.
    pub last_used_at: Option<Timestamp>,
    /// When its owner ended it.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it can be used at all.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether it may be used from this address. Nobody knows where a request without one comes from.
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.networks.iter().any(|network| network.contains(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ApiKey {
        ApiKey {
            id: ApiKeyId(1),
            account: AccountId(1),
            name: "ci".into(),
            prefix: "bk0123456789".into(),
            networks: vec![],
            created_at: Timestamp(0),
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_holds_until_it_ends_or_is_ended() {
        let now = Timestamp(100);
        assert!(key().holds(now));
        assert!(ApiKey { expires_at: Some(Timestamp(101)), ..key() }.holds(now));
        assert!(!ApiKey { expires_at: Some(now), ..key() }.holds(now));
        assert!(!ApiKey { revoked_at: Some(Timestamp(1)), ..key() }.holds(now));
    }

    #[test]
    fn a_key_is_allowed_nowhere_until_that_is_said() {
        let home = Some("192.0.2.7".parse().unwrap());
        assert!(!key().allows(home));
        let named = ApiKey { networks: vec!["192.0.2.0/24".parse().unwrap()], ..key() };
        assert!(named.allows(home));
        assert!(!named.allows(Some("198.51.100.1".parse().unwrap())));
        let any = crate::network::parse_all("addresses", &["any"]).unwrap();
        assert!(!ApiKey { networks: any, ..key() }.allows(None), "from an address that is not known");
    }
}

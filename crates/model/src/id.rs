//! One newtype per id, so that an account's id can never be passed where a server's is meant.
//!
//! All ids are positive integers given by the database, stable for an installation and never reused.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// A customer or operator.
    AccountId,
    /// An IPv4 address of a pool.
    AddressId,
    /// A key of an account for Cloud at Cost clients.
    ApiKeyId,
    /// Where customers choose to have their servers.
    RegionId,
    /// A host (or cluster) that runs machines of a region.
    NodeId,
    /// A size and its price.
    PackageId,
    /// One version of a price.
    PriceId,
    /// What a disk starts from.
    ImageId,
    /// A customer's machine; the integer that both dialects show. Also the key of the machine in its driver.
    ServerId,
    /// A public key of an account.
    SshKeyId,
    /// A disk's content kept apart from its server.
    SnapshotId,
    /// A priced span.
    IntervalId,
    /// A monthly bill.
    InvoiceId,
    /// Money that arrived.
    PaymentId,
    /// A key that may credit accounts.
    PaymentKeyId,
    /// A letter in the queue of mails.
    MailId,
    /// One entry in an account's book.
    TransactionId,
    /// One durable change: an event in Cloude, a task in Cloud at Cost.
    OperationId,
}

//! Nouns and rules of the cloud, pure: what an account, a server, a package, an amount of money *is*.
//!
//! Promises: no HTTP, no SQL, no async, no wall clock, no randomness; every rule is a function of its
//! arguments. Must not know: who asks (the dialects), how things are stored, or what runs a machine.

pub mod account;
pub mod address;
pub mod address_pool;
pub mod api_key;
pub mod catalog;
pub mod dunning;
pub mod error;
pub mod firewall;
pub mod id;
pub mod interval;
pub mod invoice;
pub mod invoice_lines;
pub mod ledger;
pub mod mail;
pub mod money;
pub mod name;
pub mod network;
pub mod operation;
pub mod payment;
pub mod pool;
pub mod price;
pub mod rate;
pub mod rating;
pub mod run_mode;
pub mod server;
pub mod snapshot;
pub mod ssh_key;
pub mod tag;
pub mod tax;
pub mod timestamp;
pub mod traffic;
pub mod traffic_month;

pub use error::{Error, Result};
pub use id::{
    AccountId, AddressId, ApiKeyId, ImageId, IntervalId, InvoiceId, MailId, NodeId, OperationId, PackageId,
    PaymentId, PaymentKeyId, PriceId, RegionId, ServerId, SnapshotId, SshKeyId, TransactionId,
};
pub use money::Micros;
pub use timestamp::Timestamp;

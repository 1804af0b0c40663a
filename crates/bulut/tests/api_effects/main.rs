//! The calls of the Cloude dialect that are about no machine: SSH keys, tags, invoices, transactions and traffic. What
//! each answers, in the shapes of the document and the contract, and what is so afterwards; and the commands that call
//! them.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

mod cli;
mod invoices;
mod ledger;
mod ssh_keys;
mod tags;
mod traffic;

use bulut_testkit::Customer;
use serde_json::Value;

const ALICES_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice@home";
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGKzGKnQXHpvocKmBh62HqQn4ftFmwdxXEgzsMfCgrYe other@home";

async fn get(customer: &Customer<'_>, path: &str) -> Value {
    customer.send("GET", path, "").await.data()
}

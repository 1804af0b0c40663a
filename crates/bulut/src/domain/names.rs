//! Names: what a server is called in its guest and what its addresses lead back to.
//!
//! Promises: a name below the provider's own zone belongs to one server at a time, and nobody gets the names that the
//! zone itself needs; names elsewhere are their owners' affair, since an address that leads to a name proves nothing
//! until the name leads to the address. Must not know: how names are served.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::{Begun, Change};
use crate::domain::plans::Plan;
use crate::domain::servers::{self, find_ready};
use crate::domain::zones;
use bulut_model::name::check_fully_qualified;
use bulut_model::operation::OperationKind;
use bulut_model::server::Server;
use bulut_model::{Error, OperationId, Result, ServerId};
use bulut_store::operations::{self, Subject};
use bulut_store::{Tx, addresses, names};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What addresses of servers lead to where the provider has no zone for their names, and nobody has set one: nothing.
/// Clients that know no empty name are shown this.
pub const NOT_CONFIGURED: &str = "ptr-not-configured";

/// How long the system's resolver may take to look a name up before nothing is said of it.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);
/// Names that are looked up at the same time.
const LOOKUPS_AT_ONCE: usize = 8;

/// Calls the server by another name: in its guest, now or at its next boot, and by its addresses.
///
/// Errors: `Invalid` for `hostname`, unless it is a fully qualified host name; `AlreadyExists` for one below the
/// provider's zone that is taken; `NotFound`; `Conflict` while another operation holds the server.
pub async fn set_reverse(app: &App, caller: &Caller, id: ServerId, hostname: &str) -> Result<OperationId> {
    check_fully_qualified("hostname", hostname)?;
    let change = match Change::begin(app, caller).await? {
        Begun::Again(answer) => return Ok(answer),
        Begun::First(change) => change,
    };
    let account = change.account.id;
    let server = find_ready(&change.tx, account, id).await?;
    claim(app, &change.tx, id, hostname).await?;
    let plan = Plan { hostname: Some(hostname.to_owned()), ..Plan::of(&server) };
    let subject = Subject { account, server: id, snapshot: None, node: server.node };
    let kind = OperationKind::ServerHostname;
    let operation = operations::insert(&change.tx, kind, subject, &plan.to_json()?, change.now).await?;
    tracing::info!(server.id = id.0, operation.id = operation.0, hostname, "another name ordered");
    change.commit(operation).await
}

/// Takes a name below the provider's zone for the server; names elsewhere are not ours to give.
async fn claim(app: &App, tx: &Tx, id: ServerId, hostname: &str) -> Result<()> {
    let Some(zone) = app.config().dns.zone() else { return Ok(()) };
    let wanted = hostname.to_ascii_lowercase();
    if !is_below(&wanted, &zone) && wanted != zone {
        return Ok(());
    }
    if Some(&wanted) == default_name(app, id).as_ref() {
        return Ok(());
    }
    let taken = || Error::exists(format!("The hostname {hostname} is taken; choose another one in {zone}."));
    if wanted == zone || is_reserved(app, &wanted, &zone) || !names::claim(tx, &wanted, id).await? {
        return Err(taken());
    }
    Ok(())
}

/// Whether the zone itself needs the name: for a server of names, or as the default of some server.
fn is_reserved(app: &App, name: &str, zone: &str) -> bool {
    let default = name
        .strip_suffix(zone)
        .and_then(|label| label.strip_suffix('.')?.strip_prefix("server-"))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    default || app.config().dns.nameservers().iter().any(|(server, _)| server == name)
}

fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

/// What a server is called where its owner has said nothing; none without a zone of the provider.
pub fn default_name(app: &App, server: ServerId) -> Option<String> {
    app.config().dns.zone().map(|zone| zones::default_name(&zone, server))
}

/// What the server's addresses lead to, and what they would lead to if its owner had said nothing.
pub fn reverse(app: &App, server: &Server) -> (String, String) {
    let default = default_name(app, server.id).unwrap_or_else(|| NOT_CONFIGURED.to_owned());
    (server.reverse_name.clone().unwrap_or_else(|| default.clone()), default)
}

/// What others would find wrong with calling the server by this name: a sentence, or nothing.
pub async fn warning(app: &App, server: &Server, name: &str) -> Result<Option<String>> {
    // We answer for it ourselves, whatever the resolvers know by now.
    let ours = default_name(app, server.id).is_some_and(|default| default.eq_ignore_ascii_case(name))
        || names::is_claimed(app.store(), &name.to_ascii_lowercase(), server.id).await?;
    if ours {
        return Ok(None);
    }
    let ipv4 = server.ipv4.as_ref().map(|v4| IpAddr::V4(v4.address));
    let ipv6 = server.ipv6.as_ref().map(|v6| IpAddr::V6(v6.address));
    let further = addresses::further(app.store(), server.id).await?;
    let further = further.iter().map(|taken| IpAddr::V4(taken.address));
    let addresses: Vec<IpAddr> = ipv4.into_iter().chain(ipv6).chain(further).collect();
    Ok(look_up(name).await.and_then(|found| missing(name, &addresses, &found)))
}

/// The addresses that a name leads to, by the system's resolver. `None` when that takes too long, or when too many
/// names are being looked up: then nothing is known.
async fn look_up(name: &str) -> Option<Vec<IpAddr>> {
    // A lookup cannot be given up, only left alone: few of them may be under way.
    static LOOKUPS: Semaphore = Semaphore::const_new(LOOKUPS_AT_ONCE);
    let permit = LOOKUPS.try_acquire().ok()?;
    // The dot keeps the resolver from trying the name within its own domains.
    let whole = format!("{name}.:0");
    let looked_up = tokio::spawn(async move {
        let _permit = permit;
        let found = tokio::net::lookup_host(whole).await;
        found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
    });
    tokio::time::timeout(LOOKUP_LIMIT, looked_up).await.ok()?.ok()
}

/// What is wrong with a name for a server with these addresses, when it leads to those that were found.
fn missing(name: &str, addresses: &[IpAddr], found: &[IpAddr]) -> Option<String> {
    let list = |addresses: Vec<&IpAddr>| {
        let texts: BTreeSet<String> = addresses.into_iter().map(IpAddr::to_string).collect();
        texts.into_iter().collect::<Vec<_>>().join(" and ")
    };
    let wanted: Vec<&IpAddr> = addresses.iter().filter(|address| !found.contains(address)).collect();
    if wanted.is_empty() {
        return None;
    }
    let leads = if found.is_empty() { "no address".to_owned() } else { list(found.iter().collect()) };
    Some(format!(
        "{name} leads to {leads}, not to {}. Until it does, others will not trust it as the name of this server: \
         set its address records (A, AAAA) where its domain is served.",
        list(wanted)
    ))
}

/// What a server is called, and what others make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// What its guest is called.
    pub hostname: String,
    /// What its addresses lead to, if to anything.
    pub reverse_name: Option<String>,
    /// What they would lead to if its owner had said nothing.
    pub default_name: Option<String>,
    /// What others would find wrong with that.
    pub warning: Option<String>,
}

/// What a server of the caller is called.
///
/// Errors: `NotFound`.
pub async fn get(app: &App, caller: &Caller, id: ServerId) -> Result<Called> {
    let server = servers::get(app, caller, id).await?;
    let default_name = default_name(app, id);
    let reverse_name = server.reverse_name.clone().or_else(|| default_name.clone());
    let warning = match &reverse_name {
        Some(name) => warning(app, &server, name).await?,
        None => None,
    };
    Ok(Called { hostname: server.hostname, reverse_name, default_name, warning })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trusted_when_it_leads_to_every_address() {
        let addresses: [IpAddr; 2] = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let other: IpAddr = "10.0.0.9".parse().unwrap();
        assert_eq!(missing("a.example", &addresses, &addresses), None);
        assert_eq!(missing("a.example", &addresses, &[addresses[1], other, addresses[0]]), None);
        let said = missing("a.example", &addresses, &[other, other]).unwrap();
        assert!(said.starts_with("a.example leads to 10.0.0.9, not to 10.0.0.2 and fd00::2."), "{said}");
        let said = missing("a.example", &addresses, &addresses[..1]).unwrap();
        assert!(said.contains("not to fd00::2."), "{said}");
        assert!(missing("a.example", &addresses, &[]).unwrap().contains("leads to no address,"));
    }

    #[tokio::test]
    async fn a_name_that_the_resolver_knows_leads_somewhere() {
        let found = look_up("localhost").await.unwrap_or_default();
        assert!(found.is_empty() || found.iter().all(IpAddr::is_loopback), "{found:?}");
    }
}

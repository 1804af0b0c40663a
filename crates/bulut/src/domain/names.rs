//! Names: what a server is called in its guest and what its addresses lead back to.
//!
//! Promises: a name below the provider's own zone belongs to one server at a time, and nobody gets the names that the
//! zone itself needs; names elsewhere are their owners' affair, since an address that leads to a name proves nothing
//! until the name leads to the address. Must not know: how names are served.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::{Begun, Change};
use crate::domain::plans::Plan;
use crate::domain::servers::find_ready;
use crate::domain::zones;
use bulut_model::name::check_fully_qualified;
use bulut_model::operation::OperationKind;
use bulut_model::server::Server;
use bulut_model::{Error, OperationId, Result, ServerId};
use bulut_store::operations::{self, Subject};
use bulut_store::{Tx, names};

/// What addresses of servers lead to where the provider has no zone for their names, and nobody has set one: nothing.
/// Clients that know no empty name are shown this.
pub const NOT_CONFIGURED: &str = "ptr-not-configured";

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

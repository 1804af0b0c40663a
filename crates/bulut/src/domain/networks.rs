//! Networks of servers: what is shown of them, and how any change of one is ordered.
//!
//! Must not know: HTTP, SQL, or how rules get to a tap.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::changes::Change;
use crate::domain::plans::{NetworkPlan, Plan};
use crate::domain::servers;
use crate::domain::traffic::{Held, held};
use bulut_model::operation::OperationKind;
use bulut_model::rate::Rates;
use bulut_model::server::Server;
use bulut_model::{Error, NodeId, OperationId, Result, ServerId};
use bulut_store::operations::{self, Subject};
use bulut_store::{addresses, rates, traffic};
use std::net::Ipv4Addr;

/// What is shown of a server's network beside the addresses that it was made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Further IPv4 addresses.
    pub further: Vec<Ipv4Addr>,
    /// How fast it is now.
    pub rates: Rates,
    /// What it is held to because its traffic is used up.
    pub held: Option<Held>,
    /// Frames that were dropped because the machine had no right to send them, of all its life.
    pub forged_frames: u64,
}

/// The network of a server of the caller.
///
/// Errors: `NotFound`.
pub async fn get(app: &App, caller: &Caller, id: ServerId) -> Result<Network> {
    let server = servers::get(app, caller, id).await?;
    let id = server.id;
    let further = addresses::further(app.store(), id).await?;
    Ok(Network {
        further: further.into_iter().map(|taken| taken.address).collect(),
        rates: rates::of_server(app.store(), id).await?,
        held: held(app, &server).await?,
        forged_frames: traffic::forged_frames(app.store(), id).await?,
    })
}

/// Checks that the node holds to rules, rates and further addresses.
///
/// Errors: `Conflict`; `Unavailable` when this process does not know the node.
pub(super) fn check_filters(app: &App, node: NodeId) -> Result<()> {
    if app.driver(node)?.abilities().filters {
        return Ok(());
    }
    Err(Error::conflict(
        "The host of this server joins it to the network in user mode, which has neither firewalls nor further addresses.",
    ))
}

/// Queues a change of a server's network, in the transaction that has found it ready.
///
/// Errors: `Conflict` while another operation holds the server.
pub(super) async fn queue(change: &Change, server: &Server, network: NetworkPlan) -> Result<OperationId> {
    let subject =
        Subject { account: change.account.id, server: server.id, snapshot: None, node: server.node };
    let plan = Plan { network, ..Plan::of(server) }.to_json()?;
    let operation =
        operations::insert(&change.tx, OperationKind::ServerNetwork, subject, &plan, change.now).await?;
    tracing::info!(server.id = server.id.0, operation.id = operation.0, "another network ordered");
    Ok(operation)
}

//! Firewalls of servers.

use crate::api::native::error::Error;
use crate::api::native::extract::Changing;
use crate::api::native::servers::Target;
use crate::api::native::wire::{FirewallOrdered, FirewallView};
use crate::api::params::{Param, Params};
use crate::app::App;
use crate::domain::firewalls;
use axum::Json;
use axum::extract::State;
use bulut_model::firewall::{FirewallRule, Parts};
use bulut_model::{Error as ModelError, Result as ModelResult, ServerId};

const ID: Param = Param::integer(&["id"], "the id of a server");
const NUMBER: Param = Param::integer(&["number"], "the number of a rule as in the list, counted from 1");
const RULES: Param = Param::list(
    &["rules"],
    "rules such as 'in allow tcp 22 10.0.0.0/8' and 'in deny tcp', the first of which that fits decides",
);
const DIRECTION: Param = Param::text(&["direction"], "in or out");
const ACTION: Param = Param::text(&["action"], "allow or deny");
const PROTOCOL: Param = Param::text(&["protocol"], "tcp, udp, icmp or any");
const PORTS: Param = Param::text(&["ports"], "a port such as 80, a range such as 8000-8100, or any");
const NETWORK: Param = Param::text(&["network"], "an address or a network such as 10.0.0.0/8, or any");
const POSITION: Param =
    Param::integer(&["position"], "the place of the rule among the others, counted from 1");

/// `GET /v2/servers/{id}/firewall`
pub async fn list(State(app): State<App>, target: Target) -> Result<Json<FirewallView>, Error> {
    Ok(Json(FirewallView::of(&firewalls::list(&app, &target.caller, target.server).await?)))
}

/// `PUT /v2/servers/{id}/firewall`: all rules; none by an empty array.
pub async fn set(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<FirewallOrdered>, Error> {
    let rules = rules(&params.given_list(&RULES)?)?;
    Ok(Json(firewalls::set(&app, &caller, id(&params)?, rules).await?.into()))
}

/// `POST /v2/servers/{id}/firewall`: one rule more, behind all others unless it has a position.
pub async fn add(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<FirewallOrdered>, Error> {
    let (direction, action) = (params.required(&DIRECTION)?, params.required(&ACTION)?);
    let (protocol, ports) = (params.optional(&PROTOCOL)?, params.optional(&PORTS)?);
    let network = params.optional(&NETWORK)?;
    let parts = Parts {
        direction: &direction,
        action: &action,
        protocol: protocol.as_deref(),
        ports: ports.as_deref(),
        network: network.as_deref(),
    };
    let (rule, position) = (parts.read()?, params.optional_integer(&POSITION)?);
    Ok(Json(firewalls::add(&app, &caller, id(&params)?, rule, position).await?.into()))
}

/// `DELETE /v2/servers/{id}/firewall/{number}`
pub async fn remove(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Json<FirewallOrdered>, Error> {
    let (id, number) = (id(&params)?, params.integer(&NUMBER)?);
    Ok(Json(firewalls::remove(&app, &caller, id, number).await?.into()))
}

fn id(params: &Params) -> ModelResult<ServerId> {
    params.integer(&ID).map(ServerId)
}

fn rules(texts: &[String]) -> ModelResult<Vec<FirewallRule>> {
    let read = |(number, text): (usize, &String)| {
        text.parse::<FirewallRule>().map_err(|error| {
            ModelError::invalid("rules", format!("In rules, rule {number}: {}", error.public))
        })
    };
    (1..).zip(texts).map(read).collect()
}

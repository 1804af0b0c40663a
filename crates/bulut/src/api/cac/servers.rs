//! Servers of the caller: looking at them, their power, names, run modes and consoles.

use crate::api::cac::answer::Answer;
use crate::api::cac::error::{Code, Error};
use crate::api::cac::extract::Signed;
use crate::api::cac::parameters::{ACTION, HOSTNAME, MODE, NAME};
use crate::api::cac::wire::{Besides, ConsoleLink, Done, ServerRow, Servers};
use crate::api::visitor::Visitor;
use crate::app::App;
use crate::domain::{consoles, names, pools, run_modes, servers, vnc_doors};
use axum::extract::State;
use bulut_model::error::Kind;
use bulut_model::run_mode::RunMode;
use std::collections::HashMap;

/// `listservers.php`
pub async fn list(State(app): State<App>, signed: Signed) -> Result<Answer<Servers>, Error> {
    let caller = &signed.caller;
    let mut usage = run_modes::usage(&app, caller).await?;
    let mut passwords = servers::passwords(&app, caller).await?;
    let mut doors = vnc_doors::shown(&app, caller).await?;
    let templates: HashMap<_, _> =
        pools::all_templates(&app).await?.into_iter().map(|(_, image)| (image.id, image.name)).collect();
    let row = |server: bulut_model::server::Server| {
        let besides = Besides {
            template: templates.get(&server.image).cloned().unwrap_or_default(),
            password: passwords.remove(&server.id).unwrap_or_default(),
            usage: usage.remove(&server.id),
            vnc: doors.remove(&server.id),
            reverse: names::reverse(&app, &server),
        };
        ServerRow::new(server, besides)
    };
    let data = servers::list(&app, caller).await?.into_iter().map(row).collect();
    Ok(Answer::new(Servers { id: caller.account.id.to_string(), action: "listservers", data }))
}

/// `powerop.php`
pub async fn power(State(app): State<App>, signed: Signed) -> Result<Answer<Done>, Error> {
    let (server, action) = (signed.server()?, signed.word(&ACTION)?);
    let caller = &signed.caller;
    let (action, task) = match action.as_str() {
        "poweron" => ("poweron", servers::start(&app, caller, server).await?),
        "poweroff" => ("poweroff", servers::stop(&app, caller, server).await?),
        "reset" => ("reset", servers::reset(&app, caller, server).await?),
        _ => return Err(wrong("action", ACTION.accepted)),
    };
    Ok(Answer::new(Done::task(server, action, task)))
}

fn wrong(name: &str, accepted: &str) -> Error {
    Error::new(Code::Parameter, format!("The parameter {name} is invalid: send {accepted}."))
}

/// `runmode.php`
pub async fn run_mode(State(app): State<App>, signed: Signed) -> Result<Answer<Done>, Error> {
    let server = signed.server()?;
    let mode = RunMode::from_word(&signed.word(&MODE)?).ok_or_else(|| wrong("mode", MODE.accepted))?;
    run_modes::set(&app, &signed.caller, server, mode).await?;
    Ok(Answer::new(Done::new(server, "runmode")))
}

/// `renameserver.php`
pub async fn rename(State(app): State<App>, signed: Signed) -> Result<Answer<Done>, Error> {
    let (server, name) = (signed.server()?, signed.params.required(&NAME)?);
    servers::rename(&app, &signed.caller, server, name.trim()).await?;
    Ok(Answer::new(Done::new(server, "renameserver")))
}

/// `rdns.php`
pub async fn reverse(State(app): State<App>, signed: Signed) -> Result<Answer<Done>, Error> {
    let (server, hostname) = (signed.server()?, signed.params.required(&HOSTNAME)?);
    let hostname = hostname.trim().trim_end_matches('.');
    let task = names::set_reverse(&app, &signed.caller, server, hostname).await.map_err(|error| {
        match error.kind {
            // A name that somebody else has is none that this server could have.
            Kind::Invalid { .. } | Kind::AlreadyExists => Error::new(Code::Server, "invalid domain name"),
            _ => error.into(),
        }
    })?;
    Ok(Answer::new(Done::task(server, "rdns", task)))
}

/// `console.php`
pub async fn console(
    State(app): State<App>,
    visitor: Visitor,
    signed: Signed,
) -> Result<Answer<ConsoleLink>, Error> {
    let server = signed.server()?;
    let ticket = consoles::open(&app, &signed.caller, server).await?;
    let console = format!("{}{}", visitor.base(app.config()), ticket.path);
    Ok(Answer::new(ConsoleLink {
        serverid: server.to_string(),
        action: "console",
        console,
        result: "successful",
    }))
}

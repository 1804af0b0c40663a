//! Tasks: the operations that events show in Cloude.

use crate::api::cac::answer::Answer;
use crate::api::cac::error::Error;
use crate::api::cac::extract::Signed;
use crate::api::cac::wire::{TaskRow, Tasks};
use crate::app::App;
use crate::domain::{names, operations};
use axum::extract::State;
use std::collections::HashMap;

/// `listtasks.php`
pub async fn list(State(app): State<App>, signed: Signed) -> Result<Answer<Tasks>, Error> {
    let caller = &signed.caller;
    let tasks = operations::list(&app, caller).await?;
    let servers: HashMap<_, _> =
        operations::servers(&app, caller).await?.into_iter().map(|server| (server.id, server)).collect();
    let row = |task| {
        let task: &bulut_model::operation::Operation = task;
        let server = servers.get(&task.server);
        let reverse = server.map(|server| names::reverse(&app, server)).unwrap_or_default();
        TaskRow::new(task, server, reverse)
    };
    let data = tasks.iter().map(row).collect();
    Ok(Answer::new(Tasks { cid: caller.account.id.to_string(), action: "listtasks", data }))
}

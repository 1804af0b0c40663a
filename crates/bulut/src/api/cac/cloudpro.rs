//! Servers of the resource pool, and what they can be built from.

use crate::api::cac::answer::Answer;
use crate::api::cac::error::{Code, Error};
use crate::api::cac::extract::Signed;
use crate::api::cac::parameters::{CPU, OS, RAM, STORAGE};
use crate::api::cac::wire::{Built, Done, PoolAnswer, TemplateRow, Templates};
use crate::app::App;
use crate::domain::pools::{self, Build};
use crate::domain::servers;
use axum::extract::State;
use bulut_model::pool::{Resources, SizeFault};

/// `listtemplates.php`
pub async fn templates(State(app): State<App>, _: Signed) -> Result<Answer<Templates>, Error> {
    let templates = pools::templates(&app).await?.into_iter();
    let data = templates.map(|(number, image)| TemplateRow::new(number, image.name)).collect();
    Ok(Answer::new(Templates { action: "listtemplates", data }))
}

/// `cloudpro/build.php`
pub async fn build(State(app): State<App>, signed: Signed) -> Result<Answer<Built>, Error> {
    let (cpu, memory) = (signed.number(&CPU)?, signed.number(&RAM)?);
    let (disk, number) = (signed.number(&STORAGE)?, signed.number(&OS)?);
    // What is no number is no size either.
    let size =
        Resources { cpu: cpu.unwrap_or(0), memory_mib: memory.unwrap_or(0), disk_gib: disk.unwrap_or(0) };
    size.check_size().map_err(|fault| match fault {
        SizeFault::Cpu => Error::new(Code::Task, "invalid CPU value"),
        SizeFault::Memory => wrong("ram", RAM.accepted),
        SizeFault::Disk => wrong("storage", STORAGE.accepted),
    })?;
    let templates = pools::templates(&app).await?.into_iter();
    let chosen = templates.into_iter().find(|(known, _)| u64::try_from(*known).ok() == number);
    let Some((_, image)) = chosen else {
        return Err(Error::new(Code::Task, "no template available by that id"));
    };
    let ordered = pools::build(&app, &signed.caller, Build { size, image: image.id }).await?;
    Ok(Answer::new(Built::new(signed.caller.account.id, ordered.server, ordered.operation)))
}

fn wrong(name: &str, accepted: &str) -> Error {
    Error::new(Code::Parameter, format!("The parameter {name} is invalid: send {accepted}."))
}

/// `cloudpro/delete.php`: of servers of the pool. Others have their price and their own dialect to end them.
pub async fn delete(State(app): State<App>, signed: Signed) -> Result<Answer<Done>, Error> {
    let id = signed.server()?;
    let server = servers::get(&app, &signed.caller, id).await;
    if server.is_ok_and(|server| !server.in_pool) {
        return Err(Error::new(Code::Resources, "Invalid Server Permission"));
    }
    // One that is gone may have been deleted by this very request, if it is repeated.
    let task = servers::destroy(&app, &signed.caller, id).await?;
    Ok(Answer::new(Done::task(id, "delete", task)))
}

/// `cloudpro/resources.php`
pub async fn resources(State(app): State<App>, signed: Signed) -> Result<Answer<PoolAnswer>, Error> {
    let pool = pools::get(&app, &signed.caller).await?;
    Ok(Answer::new(PoolAnswer::new(&pool, app.config().cac_plain_totals)))
}

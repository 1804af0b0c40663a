//! Traffic of the account's servers.

use crate::app::App;
use crate::domain::access::Caller;
use crate::domain::servers;
use bulut_model::traffic::{Sample, Step, Window};
use bulut_model::{Result, ServerId, Timestamp};
use bulut_store::traffic;

/// Which traffic somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// From when; a day before the end if nobody says.
    pub from: Option<Timestamp>,
    /// Until when; now if nobody says.
    pub to: Option<Timestamp>,
    /// What is added up.
    pub step: Step,
}

/// What a server of the account received and sent, oldest first. Minutes without traffic are left out.
///
/// Errors: `Invalid` for a span of time that is none or too long for its step; `NotFound`, also for somebody else's.
pub async fn list(app: &App, caller: &Caller, id: ServerId, asked: Asked) -> Result<Vec<Sample>> {
    let window = Window::new(asked.from, asked.to, asked.step, app.clock().now())?;
    let server = servers::get(app, caller, id).await?;
    traffic::list(app.store(), server.id, &window).await
}

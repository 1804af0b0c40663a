//! SSH keys of the caller.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Params, Signed};
use crate::api::cloude::parameters::{KEY_NAME, PUBLIC_KEY};
use crate::api::cloude::wire::KeysByName;
use crate::app::App;
use crate::domain::ssh_keys;
use axum::extract::State;

/// `POST /v1/sshkey/create`
pub async fn create(
    State(app): State<App>,
    Signed(caller): Signed,
    Params(params): Params,
) -> Result<Envelope<bool>, Error> {
    let (name, public_key) = (params.required(&KEY_NAME)?, params.required(&PUBLIC_KEY)?);
    ssh_keys::create(&app, &caller, &name, &public_key).await?;
    Ok(Envelope::new(true))
}

/// `GET /v1/sshkey/list`
pub async fn list(State(app): State<App>, Signed(caller): Signed) -> Result<Envelope<KeysByName>, Error> {
    let keys = ssh_keys::list(&app, &caller).await?;
    Ok(Envelope::new(KeysByName(keys)))
}

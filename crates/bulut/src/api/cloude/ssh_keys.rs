//! SSH keys of the caller.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::{Changing, Signed};
use crate::api::cloude::parameters::{FINGERPRINT, KEY_NAME, PUBLIC_KEY};
use crate::api::cloude::wire::KeysByName;
use crate::app::App;
use crate::domain::ssh_keys;
use axum::extract::State;

/// `POST /v1/sshkey/create`
pub async fn create(
    State(app): State<App>,
    Changing(caller, params): Changing,
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

/// `PUT /v1/sshkey/update`
pub async fn update(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<bool>, Error> {
    let (fingerprint, name) = (params.required(&FINGERPRINT)?, params.required(&KEY_NAME)?);
    ssh_keys::update(&app, &caller, &fingerprint, &name).await?;
    Ok(Envelope::new(true))
}

/// `DELETE /v1/sshkey/destroy`
pub async fn destroy(
    State(app): State<App>,
    Changing(caller, params): Changing,
) -> Result<Envelope<bool>, Error> {
    ssh_keys::destroy(&app, &caller, &params.required(&FINGERPRINT)?).await?;
    Ok(Envelope::new(true))
}

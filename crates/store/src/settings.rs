//! Settings of the installation that live in the database: name and text.

use crate::session::Session;
use bulut_model::Result;

/// The value of a setting.
pub async fn find(s: &impl Session, name: &str) -> Result<Option<String>> {
    let row = s.one("SELECT value FROM setting WHERE name = $1", vec![name.into()]).await?;
    Ok(row.map(|row| row.text("value")).transpose()?)
}

/// Sets a setting that has no value yet; answers the value that then holds.
pub async fn ensure(s: &impl Session, name: &str, value: &str) -> Result<String> {
    s.execute(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        vec![name.into(), value.into()],
    )
    .await?;
    Ok(find(s, name).await?.unwrap_or_else(|| value.to_owned()))
}

/// Sets a setting.
pub async fn set(s: &impl Session, name: &str, value: &str) -> Result<()> {
    s.execute(
        "INSERT INTO setting (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        vec![name.into(), value.into()],
    )
    .await?;
    Ok(())
}

//! Room: the command line. `bulut logout`: forgets the session.

use super::context::Context;
use super::failure::Result;

/// Runs the command. The tokens end by themselves within a day; here they are only forgotten.
pub async fn run(context: &Context) -> Result<()> {
    let _lock = context.home.lock().await?;
    let note = if context.home.remove()? { "Signed out." } else { "Nobody was signed in." };
    context.output.note(note);
    Ok(())
}

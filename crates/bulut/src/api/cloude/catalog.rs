//! What can be ordered: public calls.

use crate::api::cloude::envelope::Envelope;
use crate::api::cloude::error::Error;
use crate::api::cloude::extract::Params;
use crate::api::cloude::parameters::IMAGE_TYPE;
use crate::api::cloude::wire::{ImageView, PackageView, RegionView};
use crate::app::App;
use crate::domain::catalog;
use axum::extract::State;
use bulut_model::Error as ModelError;
use bulut_model::catalog::ImageKind;

/// `GET /v1/region/list`
pub async fn regions(State(app): State<App>) -> Result<Envelope<Vec<RegionView>>, Error> {
    let regions = catalog::regions(&app).await?;
    Ok(Envelope::new(regions.into_iter().map(Into::into).collect()))
}

/// `GET /v1/package/list`
pub async fn packages(State(app): State<App>) -> Result<Envelope<Vec<PackageView>>, Error> {
    let packages = catalog::packages(&app).await?;
    Ok(Envelope::new(packages.into_iter().map(Into::into).collect()))
}

/// `GET /v1/image/list`
pub async fn images(
    State(app): State<App>,
    Params(params): Params,
) -> Result<Envelope<Vec<ImageView>>, Error> {
    let kinds = kinds(&params.list(&IMAGE_TYPE)?)?;
    let images = catalog::images(&app).await?;
    let wanted = images.into_iter().filter(|image| kinds.contains(&image.kind));
    Ok(Envelope::new(wanted.map(Into::into).collect()))
}

/// The kinds that these words ask for; no word asks for all.
fn kinds(words: &[String]) -> Result<Vec<ImageKind>, ModelError> {
    let all = [ImageKind::Template, ImageKind::Application];
    if words.is_empty() {
        return Ok(all.to_vec());
    }
    let mut kinds = Vec::new();
    for word in words {
        let word = word.to_ascii_lowercase();
        match ImageKind::from_word(&word) {
            Some(kind) => kinds.push(kind),
            None if word == "all" => kinds.extend(all),
            None => {
                return Err(ModelError::invalid(
                    "type",
                    format!("The parameter type has an unknown value: send {}.", IMAGE_TYPE.accepted),
                ));
            }
        }
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Vec<ImageKind>, ModelError> {
        kinds(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_documents_types_are_known() {
        assert_eq!(asked(&["template"]).unwrap(), [ImageKind::Template]);
        assert_eq!(asked(&["Application"]).unwrap(), [ImageKind::Application]);
        for all in [&[][..], &["all"], &["all", "application"], &["template", "application"]] {
            let kinds = asked(all).unwrap();
            assert!(
                kinds.contains(&ImageKind::Template) && kinds.contains(&ImageKind::Application),
                "{all:?}"
            );
        }
        for unknown in ["snapshot", "al", "*"] {
            assert!(asked(&["all", unknown]).unwrap_err().public.contains("type"), "{unknown}");
        }
    }
}

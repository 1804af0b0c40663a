//! Room: the domain. Applications of the operator's own: an image of the catalogue, and a cloud-config that installs
//! something on it at a server's first boot.
//!
//! Must not know: what a recipe does, how it gets into a guest.

use super::images::{Fault, check_slug, no_image};
use crate::app::App;
use bulut_model::catalog::{Image, ImageKind};
use bulut_model::name::check_name;
use bulut_model::{Error, ImageId};
use bulut_store::{images, regions};

/// Largest recipe, bytes: as much as a customer's own user-data.
const RECIPE_LIMIT: usize = 64 * 1024;

/// An application to be offered.
#[derive(Debug, Clone)]
pub struct Application {
    /// What the calls will take.
    pub slug: String,
    /// For people.
    pub name: String,
    /// Slug of the image that it starts from.
    pub base: String,
    /// The cloud-config.
    pub recipe: String,
    /// Fewest CPUs; those of the base where none are given.
    pub min_cpu: Option<u32>,
    /// Least memory, MiB; that of the base where none is given.
    pub min_memory_mib: Option<u64>,
    /// Smallest disk, GiB; that of the base where none is given.
    pub min_disk_gib: Option<u64>,
}

/// Offers an application in every region. One that is there gets this base and recipe, and is offered again; servers
/// that were made from it keep what they have.
///
/// Errors: `Invalid` for a slug, name or recipe that cannot be one; `NotFound` for a base that is not in the
/// catalogue; refused where the slug is an operating system's, or the base is an application itself.
pub async fn add(app: &App, new: &Application) -> Result<(), Fault> {
    check_slug(&new.slug)?;
    check_name("name", &new.name)?;
    check_recipe(&new.recipe)?;
    let tx = app.store().begin().await?;
    let base = images::find(&tx, &new.base).await?.ok_or_else(|| no_image(&new.base))?;
    if base.base_slug.is_some() {
        return Err(Fault::refused(format!("{} is an application itself", new.base))
            .hint("name the image that it starts from"));
    }
    if images::find(&tx, &new.slug).await?.is_some_and(|there| there.kind != ImageKind::Application) {
        return Err(Fault::refused(format!("{} is the slug of an image", new.slug)).hint("choose another"));
    }
    let image = Image {
        id: ImageId(0),
        slug: new.slug.clone(),
        name: new.name.clone(),
        distribution: base.distribution,
        kind: ImageKind::Application,
        min_cpu: new.min_cpu.or(base.min_cpu),
        min_memory_mib: new.min_memory_mib.or(base.min_memory_mib),
        min_disk_gib: new.min_disk_gib.or(base.min_disk_gib),
        default_user: base.default_user,
        active: true,
        base_slug: Some(new.base.clone()),
        recipe: None,
        files: None,
        regions: Vec::new(),
    };
    let everywhere: Vec<_> = regions::list(&tx).await?.into_iter().map(|region| region.id).collect();
    let position = i64::try_from(images::list(&tx).await?.len()).unwrap_or(i64::MAX);
    images::ensure(&tx, &image, &everywhere, None, position).await?;
    let recipe = images::Recipe { name: None, base_slug: &new.base, text: &new.recipe };
    images::set_recipe(&tx, &new.slug, recipe).await?;
    images::set_active(&tx, &new.slug, true).await?;
    tx.commit().await?;
    tracing::info!(image.slug = new.slug, image.base = new.base, "application offered");
    Ok(())
}

/// What can be checked without knowing YAML; cloud-init says the rest in the guest.
fn check_recipe(recipe: &str) -> Result<(), Error> {
    let first = recipe.lines().next().unwrap_or("").trim_end();
    if first != "#cloud-config" {
        return Err(Error::invalid("recipe", "A recipe's first line has to be `#cloud-config`."));
    }
    if recipe.len() > RECIPE_LIMIT {
        return Err(Error::invalid("recipe", format!("A recipe may have {RECIPE_LIMIT} bytes.")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image_recipes;

    #[test]
    fn a_recipe_is_a_cloud_config_of_a_sensible_size() {
        check_recipe("#cloud-config\npackages: [nginx]\n").unwrap();
        for wrong in ["", "#!/bin/sh\n", "packages: [nginx]\n", "#cloud-config-archive\n[]\n"] {
            assert!(check_recipe(wrong).is_err(), "{wrong:?}");
        }
        assert!(check_recipe(&format!("#cloud-config\n#{}\n", "x".repeat(RECIPE_LIMIT))).is_err());
    }

    #[test]
    fn the_programs_own_recipes_are_recipes() {
        for name in ["docker", "nginx", "postgresql", "wordpress"] {
            check_recipe(image_recipes::application(name).unwrap()).unwrap();
        }
        assert_eq!(image_recipes::application("nothing"), None);
    }
}

//! The catalogue of images and applications, and the files behind it.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::domain::image_applications::{self, Application};
use bulut::domain::{image_recipes, image_sweep, images};
use bulut_model::catalog::{DirectBoot, Image, ImageFiles, ImageKind};
use bulut_model::error::Kind;
use bulut_model::{ServerId, SnapshotId};
use bulut_store::images as rows;
use bulut_testkit::{Customer, TestCloud};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

async fn image(cloud: &TestCloud, slug: &str) -> Image {
    rows::find(cloud.app().store(), slug).await.unwrap().unwrap()
}

async fn listed(cloud: &TestCloud, kind: &str) -> Vec<Value> {
    let answer = cloud.send("GET", &format!("/v1/image/list?type={kind}"), &[], "").await;
    answer.data().as_array().unwrap().clone()
}

fn slugs(listed: &[Value]) -> Vec<&str> {
    listed.iter().map(|image| image["slug"].as_str().unwrap()).collect()
}

/// Orders a server; answers its id once the order has been carried out.
async fn order(cloud: &TestCloud, who: &Customer<'_>, image: &str) -> i64 {
    let form = format!("name=web&region=ist2&package=eos3&image={image}");
    let data = who.send("POST", "/v1/server/create", &form).await.data();
    cloud.run_until_idle().await;
    assert_eq!(who.event(data["event_id"].as_i64().unwrap()).await["status"], 1);
    data["id"].as_i64().unwrap()
}

fn recipe_of(cloud: &TestCloud, server: i64) -> Option<String> {
    cloud.world().machine(ServerId(server)).unwrap().spec.unwrap().seed.recipe
}

#[tokio::test]
async fn applications_are_listed_by_their_type_and_told_to_the_guest() {
    let cloud = TestCloud::new().await;
    let applications = listed(&cloud, "application").await;
    assert_eq!(slugs(&applications), ["wordpress", "docker", "nginx", "postgresql"]);
    assert!(applications.iter().all(|image| image["type"] == "application"), "{applications:?}");
    assert_eq!(
        applications[0],
        json!({
            "name": "WordPress on Debian 12", "slug": "wordpress", "type": "application", "distribution": "Debian",
            "regions": applications[0]["regions"], "min_cpu": 1, "min_ram": 1, "min_disk_size": 10,
        })
    );
    assert!(!slugs(&listed(&cloud, "template").await).contains(&"nginx"));
    assert!(slugs(&listed(&cloud, "all,application").await).contains(&"nginx"));

    let alice = cloud.customer("alice").await;
    let nginx = order(&cloud, &alice, "nginx").await;
    assert_eq!(recipe_of(&cloud, nginx).as_deref(), image_recipes::application("nginx"));
    let plain = order(&cloud, &alice, "debian-12-x64").await;
    assert_eq!(recipe_of(&cloud, plain), None);
    let spec = |id: i64| cloud.world().machine(ServerId(id)).unwrap().spec.unwrap();
    assert_eq!(spec(nginx).image, spec(plain).image, "its disk starts from the base");
}

#[tokio::test]
async fn an_application_is_there_when_its_base_is() {
    let cloud = TestCloud::new().await;
    assert!(image(&cloud, "nginx").await.is_ready());
    images::remove(cloud.app(), "debian-12-x64").await.unwrap();
    assert!(!image(&cloud, "nginx").await.is_ready());
    assert_eq!(slugs(&listed(&cloud, "application").await), [""; 0]);
    let alice = cloud.customer("alice").await;
    let form = "name=web&region=ist2&package=eos3&image=nginx";
    alice.send("POST", "/v1/server/create", form).await.refusal(400);
}

#[tokio::test]
async fn an_applications_files_are_its_bases_affair() {
    let cloud = TestCloud::new().await;
    let app = cloud.app();
    let refusals = [
        images::build(app, "nginx", &images::Silent).await.unwrap_err(),
        images::pull(app, "nginx", &images::Silent).await.unwrap_err(),
        images::remove(app, "nginx").await.unwrap_err(),
    ];
    for (fault, hint) in refusals.iter().zip(["build debian-12-x64", "pull debian-12-x64", "withdraw nginx"])
    {
        assert!(fault.error.public.contains("uses those of debian-12-x64"), "{fault:?}");
        assert_eq!(fault.hint.as_deref(), Some(format!("bulut image {hint}").as_str()));
        assert!(!fault.is_broken());
    }
    let import = images::Import {
        path: "/dev/null".into(),
        slug: "nginx".into(),
        name: "Mine".into(),
        distribution: "Other".into(),
        digest: None,
    };
    let fault = images::import(app, &import, &images::Silent).await.unwrap_err();
    assert!(fault.hint.unwrap().contains("another slug"));
    let list = images::list(app).await.unwrap();
    let nginx = list.iter().find(|listed| listed.image.slug == "nginx").unwrap();
    assert!(!nginx.can_build && !nginx.can_pull && nginx.image.is_ready());
}

#[tokio::test]
async fn a_base_stays_while_a_server_of_an_application_rests_on_it() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = order(&cloud, &alice, "nginx").await;
    let fault = images::remove(cloud.app(), "debian-12-x64").await.unwrap_err();
    assert!(fault.error.public.contains("1 server was made from"), "{fault:?}");
    alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    images::remove(cloud.app(), "debian-12-x64").await.unwrap();
}

#[tokio::test]
async fn a_snapshot_that_boots_directly_keeps_its_images_kernel() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let boot = DirectBoot { kernel: "vmlinuz".into(), initrd: "initrd".into(), cmdline: "quiet".into() };
    let files = ImageFiles { direct: Some(boot), ..files("b") };
    images::register(cloud.app(), "tiny", &files).await.unwrap();
    let server = alice.running_server("web").await;
    let form = format!("id={server}&name=before");
    alice.send("POST", "/v1/snapshot/create", &form).await.data();
    cloud.run_until_idle().await;
    alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    let fault = images::remove(cloud.app(), "tiny").await.unwrap_err();
    assert!(fault.error.public.contains("1 snapshot was made from"), "{fault:?}");
    let snapshot = SnapshotId(alice.snapshots().await[0]["id"].as_i64().unwrap());
    alice.send("DELETE", "/v1/snapshot/destroy", &format!("id={snapshot}")).await.data();
    cloud.run_until_idle().await;
    images::remove(cloud.app(), "tiny").await.unwrap();
}

fn own(slug: &str, base: &str) -> Application {
    Application {
        slug: slug.into(),
        name: "Own".into(),
        base: base.into(),
        recipe: "#cloud-config\npackages: [redis]\n".into(),
        min_cpu: None,
        min_memory_mib: Some(2048),
        min_disk_gib: None,
    }
}

#[tokio::test]
async fn an_operators_application_is_offered_withdrawn_and_changed() {
    let cloud = TestCloud::new().await;
    let app = cloud.app();
    image_applications::add(app, &own("redis", "debian-12-x64")).await.unwrap();
    let made = image(&cloud, "redis").await;
    assert_eq!((made.kind, made.base_slug.as_deref()), (ImageKind::Application, Some("debian-12-x64")));
    let base = image(&cloud, "debian-12-x64").await;
    assert_eq!((made.min_memory_mib, made.min_disk_gib), (Some(2048), base.min_disk_gib));
    assert_eq!((made.regions, made.files), (base.regions, base.files));
    let alice = cloud.customer("alice").await;
    let server = order(&cloud, &alice, "redis").await;
    assert_eq!(recipe_of(&cloud, server), Some(own("redis", "").recipe));

    images::offer(app, "redis", false).await.unwrap();
    assert!(!slugs(&listed(&cloud, "application").await).contains(&"redis"));
    let changed = Application { recipe: "#cloud-config\n{}\n".into(), ..own("redis", "debian-12-x64") };
    image_applications::add(app, &changed).await.unwrap();
    assert!(slugs(&listed(&cloud, "application").await).contains(&"redis"), "offered again");
    assert_eq!(image(&cloud, "redis").await.recipe.as_deref(), Some("#cloud-config\n{}\n"));
    alice.send("POST", &format!("/v1/server/{server}/reboot"), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!(recipe_of(&cloud, server), Some(own("redis", "").recipe), "a server keeps what it has");

    let invalid = |field: &str| Kind::Invalid { field: field.into() };
    for (wrong, kind) in [
        (own("redis", "none"), Kind::NotFound),
        (own("redis2", "nginx"), Kind::Conflict),
        (own("tiny", "debian-12-x64"), Kind::Conflict),
        (own("No Slug", "debian-12-x64"), invalid("slug")),
        (Application { recipe: "#!/bin/sh\n".into(), ..own("redis", "debian-12-x64") }, invalid("recipe")),
    ] {
        let fault = image_applications::add(app, &wrong).await.unwrap_err();
        assert_eq!(fault.error.kind, kind, "{wrong:?}: {fault:?}");
    }
    assert_eq!(images::offer(app, "none", true).await.unwrap_err().error.kind, Kind::NotFound);
}

#[tokio::test]
async fn a_restart_brings_the_programs_recipes_and_leaves_the_operators() {
    let mut cloud = TestCloud::new().await;
    let stale = |name| rows::Recipe { name: Some(name), base_slug: "tiny", text: "#cloud-config\n# old\n" };
    let store = cloud.app().store();
    rows::set_recipe(store, "docker", stale("docker")).await.unwrap();
    image_applications::add(cloud.app(), &own("nginx", "debian-12-x64")).await.unwrap();
    images::offer(cloud.app(), "postgresql", false).await.unwrap();
    cloud.restart().await;
    let docker = image(&cloud, "docker").await;
    assert_eq!(docker.base_slug.as_deref(), Some("debian-12-x64"));
    assert_eq!(docker.recipe.as_deref(), image_recipes::application("docker"));
    assert_eq!(image(&cloud, "nginx").await.recipe, Some(own("", "").recipe));
    assert!(!image(&cloud, "postgresql").await.active, "what the operator withdrew stays withdrawn");
}

/// Files in a directory named by a digest of this digit.
fn files(digit: &str) -> ImageFiles {
    let directory = digit.repeat(64);
    let digest = format!("sha256:{directory}");
    ImageFiles { digest, directory, virtual_bytes: 1 << 30, file_bytes: 1 << 20, direct: None }
}

#[tokio::test]
async fn files_that_nothing_needs_go_after_a_while() {
    let cloud = TestCloud::new().await;
    let app = cloud.app();
    let dir = app.config().images_dir();
    let place = |digit: &str| -> PathBuf { dir.join(digit.repeat(64)) };
    let make = |digit: &str| {
        std::fs::create_dir_all(place(digit)).unwrap();
        std::fs::write(place(digit).join("disk.qcow2"), "").unwrap();
    };
    assert_eq!(image_sweep::sweep(app).await.unwrap(), 0, "no directory is no fault");
    for digit in ["a", "b", "c"] {
        make(digit);
    }
    std::fs::create_dir_all(dir.join("kept-by-hand")).unwrap();
    images::register(app, "tiny", &files("a")).await.unwrap();
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web").await;
    images::register(app, "tiny", &files("b")).await.unwrap();

    let later = async || {
        app.clock().advance(Duration::from_secs(601));
        image_sweep::sweep(app).await.unwrap()
    };
    assert_eq!(image_sweep::sweep(app).await.unwrap(), 0, "an order may be about to name it");
    assert_eq!(later().await, 1);
    assert!(place("a").exists(), "a server rests on it");
    assert!(place("b").exists(), "the catalogue names it");
    assert!(!place("c").exists());

    alice.send("DELETE", &format!("/v1/server/{server}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!(later().await, 0);
    images::register(app, "tiny", &files("a")).await.unwrap();
    assert_eq!(later().await, 0, "needed again: the time begins anew");
    images::register(app, "tiny", &files("b")).await.unwrap();
    assert_eq!(later().await, 0);
    assert_eq!(later().await, 1);
    assert!(!place("a").exists() && place("b").exists() && dir.join("kept-by-hand").exists());
    let left = std::fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".unneeded")), "{left:?}");
}

//! Laws of images.

use crate::catalogue::three_regions;
use crate::databases::{Db, START, laws};
use crate::world::{World, files, image};
use bulut_model::catalog::{DirectBoot, Image, ImageFiles, ImageKind};
use bulut_model::error::Kind;
use bulut_model::operation::OperationKind;
use bulut_model::server::Power;
use bulut_model::snapshot::Facts;
use bulut_model::{ImageId, ServerId};
use bulut_store::images::Recipe;
use bulut_store::{Session, images, operations, servers, snapshots};

laws! {
    both:
    an_image_comes_back_as_it_was_made
    an_image_is_made_once_and_stays_as_the_operator_made_it
    an_image_names_its_regions_however_it_is_found
    the_files_of_an_image_come_and_go
    a_template_number_belongs_to_one_image
    only_servers_that_exist_use_an_image
    an_application_has_the_files_of_its_base
    an_image_can_be_withdrawn
    an_application_follows_the_programs_recipe_until_it_gets_another
    servers_of_an_application_use_its_base
    only_snapshots_that_boot_directly_need_the_files
    a_directory_is_needed_by_whoever_names_it
    a_directory_is_planned_for_as_long_as_the_operation_lives;
}

async fn an_image_comes_back_as_it_was_made(db: Db) {
    let s = &db.store;
    for new in [
        Image { kind: ImageKind::Application, active: false, ..image("wordpress") },
        Image { min_cpu: None, min_disk_gib: None, ..image("tiny") },
        Image { min_memory_mib: Some(1 << 40), ..image("large") },
    ] {
        images::ensure(s, &new, &[], None, 1).await.unwrap();
        let found = images::find(s, &new.slug).await.unwrap().unwrap();
        assert!(found.id.0 > 0);
        assert_eq!(found, Image { id: found.id, ..new });
        assert_eq!(images::get(s, found.id).await.unwrap(), found);
    }
    assert_eq!(images::find(s, "none").await.unwrap(), None);
    assert_eq!(images::get(s, ImageId(99)).await.unwrap_err().kind, Kind::NotFound);
}

async fn an_image_is_made_once_and_stays_as_the_operator_made_it(db: Db) {
    let s = &db.store;
    let [first, second, _] = three_regions(s).await;
    images::ensure(s, &image("debian"), &[first], Some(27), 1).await.unwrap();
    images::set_files(s, "debian", Some(&files())).await.unwrap();
    s.execute("UPDATE image SET name = 'Bookworm', active = 0", vec![]).await.unwrap();
    let edited = images::list(s).await.unwrap();
    images::ensure(s, &image("debian"), &[first, second], Some(27), 9).await.unwrap();
    assert_eq!(images::list(s).await.unwrap(), edited);
    assert_eq!((edited[0].name.as_str(), edited[0].active), ("Bookworm", false));
    assert!(edited[0].is_ready());
}

async fn an_image_names_its_regions_however_it_is_found(db: Db) {
    let s = &db.store;
    let [ams, zrh, ist] = three_regions(s).await;
    images::ensure(s, &image("second"), &[ist, zrh, ist], None, 2).await.unwrap();
    images::ensure(s, &image("first"), &[ist, ams, zrh], None, 1).await.unwrap();
    let listed = images::list(s).await.unwrap();
    assert_eq!((listed[0].slug.as_str(), listed[1].slug.as_str()), ("first", "second"));
    assert_eq!(listed[0].regions, ["zrh1", "ams1", "ist1"]);
    assert_eq!(listed[1].regions, ["zrh1", "ist1"]);
    for listed in listed {
        assert_eq!(images::find(s, &listed.slug).await.unwrap().as_ref(), Some(&listed));
        assert_eq!(images::get(s, listed.id).await.unwrap(), listed);
    }
}

async fn the_files_of_an_image_come_and_go(db: Db) {
    let s = &db.store;
    images::ensure(s, &image("tiny"), &[], None, 1).await.unwrap();
    images::ensure(s, &image("debian"), &[], None, 2).await.unwrap();
    let direct =
        DirectBoot { kernel: "vmlinuz".into(), initrd: "initrd".into(), cmdline: "quiet \"x\"".into() };
    let files = ImageFiles { direct: Some(direct), ..files() };
    images::set_files(s, "tiny", Some(&files)).await.unwrap();
    assert_eq!(images::find(s, "tiny").await.unwrap().unwrap().files, Some(files));
    assert!(!images::find(s, "debian").await.unwrap().unwrap().is_ready());
    images::set_files(s, "tiny", None).await.unwrap();
    assert!(!images::find(s, "tiny").await.unwrap().unwrap().is_ready());
    assert_eq!(images::set_files(s, "none", None).await.unwrap_err().kind, Kind::NotFound);
}

async fn a_template_number_belongs_to_one_image(db: Db) {
    let s = &db.store;
    images::ensure(s, &image("debian"), &[], Some(27), 1).await.unwrap();
    let refused = images::ensure(s, &image("ubuntu"), &[], Some(27), 2).await.unwrap_err();
    assert_eq!(refused.kind, Kind::AlreadyExists);
    assert!(refused.public.contains("27") && refused.public.contains("ubuntu"), "{refused}");
    for slug in ["a", "b"] {
        images::ensure(s, &image(slug), &[], None, 3).await.unwrap();
    }
}

async fn only_servers_that_exist_use_an_image(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    images::ensure(s, &image("other"), &[], None, 2).await.unwrap();
    let other = images::find(s, "other").await.unwrap().unwrap().id;
    let first = world.server(s, "web1").await;
    world.server(s, "web2").await;
    assert_eq!(images::servers_using(s, world.image).await.unwrap(), 2);
    servers::bury(s, first, START).await.unwrap();
    assert_eq!(images::servers_using(s, world.image).await.unwrap(), 1);
    assert_eq!(images::servers_using(s, other).await.unwrap(), 0);
}

/// An application of the world's image.
fn application(slug: &str) -> Image {
    Image {
        kind: ImageKind::Application,
        base_slug: Some("debian-12-x64".into()),
        recipe: Some("#cloud-config\npackages: [nginx]\n".into()),
        ..image(slug)
    }
}

async fn an_application_has_the_files_of_its_base(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    images::ensure(s, &application("nginx"), &[world.region], Some(90), 2).await.unwrap();
    let found = images::find(s, "nginx").await.unwrap().unwrap();
    assert_eq!(found, Image { id: found.id, regions: vec!["ist1".into()], ..application("nginx") });
    assert!(!found.is_ready(), "its base is not here");
    images::set_files(s, "debian-12-x64", Some(&files())).await.unwrap();
    let found = images::find(s, "nginx").await.unwrap().unwrap();
    assert_eq!(found.files, Some(files()));
    assert_eq!(images::get(s, found.id).await.unwrap(), found);
    assert_eq!(images::list(s).await.unwrap()[1], found);
    assert_eq!(
        images::set_files(s, "nginx", Some(&files())).await.unwrap_err().kind,
        Kind::NotFound,
        "it has none of its own"
    );
    images::set_files(s, "debian-12-x64", None).await.unwrap();
    assert!(!images::find(s, "nginx").await.unwrap().unwrap().is_ready());
}

async fn an_image_can_be_withdrawn(db: Db) {
    let s = &db.store;
    images::ensure(s, &image("debian-13"), &[], None, 1).await.unwrap();
    images::ensure(s, &image("other"), &[], None, 2).await.unwrap();
    images::set_active(s, "debian-13", false).await.unwrap();
    let active = |all: Vec<Image>| all.into_iter().map(|image| image.active).collect::<Vec<_>>();
    assert_eq!(active(images::list(s).await.unwrap()), [false, true]);
    images::set_active(s, "debian-13", true).await.unwrap();
    assert_eq!(active(images::list(s).await.unwrap()), [true, true]);
    assert_eq!(images::set_active(s, "none", true).await.unwrap_err().kind, Kind::NotFound);
}

async fn an_application_follows_the_programs_recipe_until_it_gets_another(db: Db) {
    let s = &db.store;
    images::ensure(s, &image("debian-12-x64"), &[], None, 1).await.unwrap();
    for slug in ["nginx", "other"] {
        assert!(images::ensure(s, &application(slug), &[], None, 2).await.unwrap());
        assert!(!images::ensure(s, &application(slug), &[], None, 2).await.unwrap());
    }
    let now = async |slug: &str| {
        let found = images::find(s, slug).await.unwrap().unwrap();
        (found.base_slug.unwrap(), found.recipe.unwrap())
    };
    let pair = |base: &str, text: &str| (base.to_owned(), text.to_owned());
    let theirs = Recipe { name: Some("web"), base_slug: "debian-12-x64", text: "first" };
    images::set_recipe(s, "nginx", theirs).await.unwrap();
    images::refresh_recipe(s, "web", "debian-13", "second").await.unwrap();
    assert_eq!(now("nginx").await, pair("debian-13", "second"));
    assert_eq!(now("other").await.1, application("other").recipe.unwrap(), "it follows none");
    images::set_recipe(s, "nginx", Recipe { name: None, base_slug: "own", text: "own" }).await.unwrap();
    images::refresh_recipe(s, "web", "debian-13", "third").await.unwrap();
    assert_eq!(now("nginx").await, pair("own", "own"));
    for slug in ["debian-12-x64", "none"] {
        let refused = images::set_recipe(s, slug, theirs).await.unwrap_err();
        assert_eq!(refused.kind, Kind::NotFound, "{slug}");
    }
}

async fn servers_of_an_application_use_its_base(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    images::ensure(s, &application("nginx"), &[], None, 2).await.unwrap();
    let nginx = images::find(s, "nginx").await.unwrap().unwrap().id;
    world.server(s, "plain").await;
    let server =
        servers::insert(s, &servers::New { image: nginx, ..world.order("web") }, START).await.unwrap();
    assert_eq!(images::servers_using(s, world.image).await.unwrap(), 2);
    assert_eq!(images::servers_using(s, nginx).await.unwrap(), 1);
    servers::bury(s, server, START).await.unwrap();
    assert_eq!(images::servers_using(s, world.image).await.unwrap(), 1);
    assert_eq!(images::servers_using(s, nginx).await.unwrap(), 0);
}

/// Files in this directory, which boot directly or from the disk.
fn files_in(directory: &str, direct: bool) -> ImageFiles {
    let boot = DirectBoot { kernel: "vmlinuz".into(), initrd: "initrd".into(), cmdline: "quiet".into() };
    ImageFiles { directory: directory.into(), direct: direct.then_some(boot), ..files() }
}

fn snapshot_of(world: &World, server: ServerId, image: ImageId, files: ImageFiles) -> snapshots::New {
    snapshots::New {
        account: world.account,
        server,
        node: world.node,
        region: world.region,
        name: "before".into(),
        disk_gib: 25,
        facts: Facts {
            cpu: 1,
            memory_mib: 1024,
            power: Power::Stopped,
            region_slug: "ist1".into(),
            image_slug: "debian-12-x64".into(),
            package_slug: "eos1".into(),
            ipv4: None,
            ipv6: None,
        },
        origin: snapshots::Origin {
            image,
            image_files: files,
            instance_id: "i-web".into(),
            sealed_password: None,
        },
    }
}

async fn only_snapshots_that_boot_directly_need_the_files(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    images::ensure(s, &application("nginx"), &[], None, 2).await.unwrap();
    let nginx = images::find(s, "nginx").await.unwrap().unwrap().id;
    let server = world.server(s, "web").await;
    for (image, direct) in [(world.image, false), (world.image, true), (nginx, true)] {
        let new = snapshot_of(&world, server, image, files_in("k", direct));
        snapshots::insert(s, &new, START).await.unwrap();
    }
    assert_eq!(images::snapshots_using(s, world.image).await.unwrap(), 2);
    assert_eq!(images::snapshots_using(s, nginx).await.unwrap(), 1);
    for snapshot in snapshots::list(s, world.account, None).await.unwrap() {
        snapshots::bury(s, snapshot.id, START).await.unwrap();
    }
    assert_eq!(images::snapshots_using(s, world.image).await.unwrap(), 0);
}

async fn a_directory_is_needed_by_whoever_names_it(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    images::set_files(s, "debian-12-x64", Some(&files_in("catalogue", false))).await.unwrap();
    let order = servers::New { image_files: files_in("server", false), ..world.order("web") };
    let server = servers::insert(s, &order, START).await.unwrap();
    for (directory, direct) in [("disk", false), ("direct", true)] {
        let new = snapshot_of(&world, server, world.image, files_in(directory, direct));
        snapshots::insert(s, &new, START).await.unwrap();
    }
    let needed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(images::directories(s).await.unwrap(), needed(&["catalogue", "direct", "server"]));
    servers::bury(s, server, START).await.unwrap();
    assert_eq!(images::directories(s).await.unwrap(), needed(&["catalogue", "direct"]));
    for snapshot in snapshots::list(s, world.account, None).await.unwrap() {
        snapshots::bury(s, snapshot.id, START).await.unwrap();
    }
    images::set_files(s, "debian-12-x64", None).await.unwrap();
    assert_eq!(images::directories(s).await.unwrap(), needed(&[]));
}

async fn a_directory_is_planned_for_as_long_as_the_operation_lives(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web").await;
    let plan = r#"{"disk":{"image_files":{"directory":"5e5e","file_bytes":1}}}"#;
    let kind = OperationKind::ServerReinstall;
    operations::insert(s, kind, world.subject(server), plan, START).await.unwrap();
    assert!(images::is_planned(s, "5e5e").await.unwrap());
    assert!(!images::is_planned(s, "5e").await.unwrap());
    s.execute("UPDATE operation SET status = 1", vec![]).await.unwrap();
    assert!(!images::is_planned(s, "5e5e").await.unwrap());
}

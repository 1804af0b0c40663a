//! Laws of images.

use crate::catalogue::three_regions;
use crate::databases::{Db, START, laws};
use crate::world::{World, files, image};
use bulut_model::ImageId;
use bulut_model::catalog::{DirectBoot, Image, ImageFiles, ImageKind};
use bulut_model::error::Kind;
use bulut_store::{Session, images, servers};

laws! {
    both:
    an_image_comes_back_as_it_was_made
    an_image_is_made_once_and_stays_as_the_operator_made_it
    an_image_names_its_regions_however_it_is_found
    the_files_of_an_image_come_and_go
    a_template_number_belongs_to_one_image
    only_servers_that_exist_use_an_image;
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

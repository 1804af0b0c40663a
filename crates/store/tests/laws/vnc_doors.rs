//! Laws of the ports at which screens are reached.

use crate::databases::{Db, at, laws};
use crate::world::{World, at_once};
use bulut_model::ServerId;
use bulut_model::account::Standing;
use bulut_model::dunning::{Dunning, Stage};
use bulut_store::vnc_doors::{self, Door};
use bulut_store::{accounts, dunning, servers};

laws! {
    both:
    of_many_who_take_a_port_one_gets_it
    a_door_is_open_while_its_server_is_there_and_its_account_active;
}

fn door(server: ServerId, port: u16) -> Door {
    Door { server, port, sealed_password: format!("sealed {server}") }
}

async fn of_many_who_take_a_port_one_gets_it(db: Db) {
    let world = World::new(&db.store).await;
    let all = world.servers(&db.store, 8).await;
    let taken = at_once(8, |i| {
        let (s, server) = (db.store.clone(), all[i]);
        async move { vnc_doors::insert(&s, world.node, &door(server, 45_000)).await.unwrap() }
    })
    .await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    assert_eq!(vnc_doors::ports(&db.store, world.node).await.unwrap(), [45_000]);
    assert_eq!(vnc_doors::without(&db.store, world.node, 100).await.unwrap().len(), 7);
    let holder = vnc_doors::list(&db.store, world.account).await.unwrap().remove(0).server;
    assert!(!vnc_doors::insert(&db.store, world.node, &door(holder, 45_001)).await.unwrap(), "one each");
}

async fn a_door_is_open_while_its_server_is_there_and_its_account_active(db: Db) {
    let s = &db.store;
    let world = World::new(s).await;
    let server = world.server(s, "web").await;
    assert!(vnc_doors::insert(s, world.node, &door(server, 45_000)).await.unwrap());
    assert_eq!(vnc_doors::open_on(s, world.node).await.unwrap(), [door(server, 45_000)]);
    accounts::set_standing(s, world.account, Standing::Suspended).await.unwrap();
    assert_eq!(vnc_doors::open_on(s, world.node).await.unwrap(), []);
    accounts::set_standing(s, world.account, Standing::Active).await.unwrap();
    assert_eq!(vnc_doors::open_on(s, world.node).await.unwrap().len(), 1);
    let lacking = Dunning { stage: Stage::Suspended, round: 1, entered_at: at(0), due_at: None };
    dunning::set(s, world.account, &lacking).await.unwrap();
    assert_eq!(vnc_doors::open_on(s, world.node).await.unwrap(), []);
    dunning::set(s, world.account, &Dunning { stage: Stage::Fine, ..lacking }).await.unwrap();
    assert_eq!(vnc_doors::open_on(s, world.node).await.unwrap().len(), 1);
    servers::bury(s, server, at(1)).await.unwrap();
    assert_eq!(vnc_doors::open_on(s, world.node).await.unwrap(), []);
    assert_eq!(vnc_doors::ports(s, world.node).await.unwrap(), Vec::<u16>::new(), "the port is free again");
}

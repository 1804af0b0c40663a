//! Resource pools: never more is used than there is, whatever runs in parallel, and all of it comes back once.

use crate::client::{SMALL, assert_error, client, give_pool};
use bulut::faults::Fault;
use bulut::operations::{definition, engine};
use bulut_model::operation::OperationKind;
use bulut_model::pool::{Pool, Resources};
use bulut_store::{accounts, pools, servers};
use bulut_testkit::{Customer, Database, TestCloud};
use futures_util::future::join_all;

async fn pool(cloud: &TestCloud, customer: &Customer<'_>) -> Pool {
    pools::find(cloud.app().store(), customer.account.id).await.unwrap()
}

/// What the account's servers of the pool take together is what the pool says.
async fn assert_adds_up(cloud: &TestCloud, customer: &Customer<'_>) -> Pool {
    let tx = cloud.app().store().begin().await.unwrap();
    // Two readings are of one state only while nobody else can change the account.
    accounts::hold(&tx, customer.account.id).await.unwrap();
    let pool = pools::find(&tx, customer.account.id).await.unwrap();
    let all = servers::list(&tx, customer.account.id).await.unwrap();
    tx.rollback().await.unwrap();
    let mut sum = Resources::default();
    for server in all.iter().filter(|server| server.in_pool) {
        sum.cpu += u64::from(server.cpu);
        sum.memory_mib += server.memory_mib;
        sum.disk_gib += server.disk_gib;
    }
    assert_eq!(pool.used, sum);
    assert!(pool.used.cpu <= pool.total.cpu && pool.used.memory_mib <= pool.total.memory_mib);
    assert!(pool.used.disk_gib <= pool.total.disk_gib);
    pool
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_builds_at_once_against_room_for_ten_build_ten() {
    for database in [Database::Sqlite, Database::Postgres] {
        // Each time something else runs out first.
        for (limits, said) in [
            ((10, 100_000, 1000), "Not Enough CPU"),
            ((100, 5120, 1000), "Not Enough RAM"),
            ((100, 100_000, 100), "Not Enough Storage"),
        ] {
            let cloud = TestCloud::on(database).await;
            let alice = cloud.customer("alice").await;
            give_pool(&cloud, &alice, limits.0, limits.1, limits.2).await;
            let client = client(&cloud, &alice).await;
            let builds = join_all((0..40).map(|_| client.post("cloudpro/build.php", &SMALL)));
            let watching = async {
                for _ in 0..20 {
                    assert_adds_up(&cloud, &alice).await;
                    tokio::task::yield_now().await;
                }
            };
            let (answers, ()) = tokio::join!(builds, watching);
            let built: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
            assert_eq!(built.len(), 10, "{database:?} {said}");
            for refused in answers.iter().filter(|answer| answer.status != 200) {
                assert_error(refused, 412, "107", said);
            }
            assert_adds_up(&cloud, &alice).await;
            cloud.run_until_idle().await;
            assert_eq!(cloud.world().len(), 10);
            let used = assert_adds_up(&cloud, &alice).await.used;
            assert_eq!(used, Resources { cpu: 10, memory_mib: 5120, disk_gib: 100 });

            // Deleted by both dialects, each several times at once.
            let ids: Vec<i64> =
                alice.servers().await.iter().map(|server| server["id"].as_i64().unwrap()).collect();
            let deletes = ids.iter().flat_map(|id| [*id; 3]).map(|id| {
                let (client, alice) = (&client, &alice);
                async move {
                    client.post("cloudpro/delete.php", &[("sid", &id.to_string())]).await;
                    alice.send("DELETE", &format!("/v1/server/{id}/destroy"), "").await;
                }
            });
            join_all(deletes).await;
            cloud.run_until_idle().await;
            assert_eq!(assert_adds_up(&cloud, &alice).await.used, Resources::default(), "{database:?}");
            assert!(cloud.world().is_empty());
        }
    }
}

#[tokio::test]
async fn what_a_failed_build_took_comes_back_whichever_step_fails() {
    for step in definition(OperationKind::ServerCreate).steps {
        let mut cloud = TestCloud::new().await;
        let account = {
            let alice = cloud.customer("alice").await;
            give_pool(&cloud, &alice, 2, 2048, 40).await;
            cloud.fault(&format!("server_create.{}.after", step.name), Fault::Fatal, 1);
            if step.undo.is_some() {
                cloud.fault(&format!("server_create.{}.undo.after", step.name), Fault::Die, 1);
            }
            let client = client(&cloud, &alice).await;
            client.ok("cloudpro/build.php", &SMALL).await;
            engine::run_due(cloud.app()).await.unwrap();
            alice.account.clone()
        };
        cloud.restart().await;
        cloud.run_until_idle().await;
        let alice = cloud.sign_in(&account).await;
        assert_eq!(assert_adds_up(&cloud, &alice).await.used, Resources::default(), "at {}", step.name);
        let client = client(&cloud, &alice).await;
        assert_eq!(client.tasks().await[0]["status"], "failed");
        client.built().await;
        assert_eq!(pool(&cloud, &alice).await.used.cpu, 1);
    }
}

#[tokio::test]
async fn a_pool_is_given_changed_and_shown() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let mine = async || alice.send("GET", "/v2/pool", "").await.json();
    assert_eq!(mine().await["total"]["cpu"], 0);
    give_pool(&cloud, &alice, 1, 1024, 20).await;
    let client = client(&cloud, &alice).await;
    client.built().await;
    let more = bulut::domain::pools::NewTotal { memory_mib: Some(4096), ..Default::default() };
    bulut::domain::pools::set(cloud.app(), "alice", more).await.unwrap();
    let shown = mine().await;
    assert_eq!((&shown["total"]["cpu"], &shown["total"]["memory_mib"]), (&1.into(), &4096.into()));
    assert_eq!(shown["used"]["disk_gib"], 10);
    let less = bulut::domain::pools::NewTotal { cpu: Some(0), ..Default::default() };
    bulut::domain::pools::set(cloud.app(), "alice", less).await.unwrap();
    assert_error(&client.post("cloudpro/build.php", &SMALL).await, 412, "107", "Not Enough CPU");
    assert_eq!(client.servers().await.len(), 1, "what is there stays");
    let too_much = bulut::domain::pools::NewTotal { cpu: Some(u64::MAX), ..Default::default() };
    assert!(bulut::domain::pools::set(cloud.app(), "alice", too_much).await.is_err());
    assert!(bulut::domain::pools::set(cloud.app(), "nobody", less).await.is_err());
    let listed = bulut::domain::pools::list(cloud.app()).await.unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn servers_of_packages_draw_on_no_pool() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 1, 512, 10).await;
    alice.running_server("web1").await;
    assert_eq!(pool(&cloud, &alice).await.used, Resources::default());
    let client = client(&cloud, &alice).await;
    let built = client.built().await;
    // A copy of a server of the pool has a package and a price of its own.
    let taken = alice.send("POST", "/v1/snapshot/create", &format!("id={built}&name=s")).await.data();
    cloud.run_until_idle().await;
    let order = format!("name=copy&package=eos1&snapshot_id={}", taken["id"]);
    alice.send("POST", "/v1/server/create_from_snapshot", &order).await.data();
    cloud.run_until_idle().await;
    assert_eq!(pool(&cloud, &alice).await.used, Resources { cpu: 1, memory_mib: 512, disk_gib: 10 });
    let copies = servers::list(cloud.app().store(), alice.account.id).await.unwrap();
    assert_eq!(copies.iter().map(|server| server.in_pool).collect::<Vec<_>>(), [false, true, false]);
}

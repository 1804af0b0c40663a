//! Accounts whose balance runs out: warned, suspended, deleted only where that is set, and active again once they pay.

use crate::templates;
use bulut::config::Config;
use bulut::domain::{accounts, dunning as verbs, payments};
use bulut::reconcile::dunning::look;
use bulut_model::account::Standing;
use bulut_model::{Micros, Timestamp};
use bulut_store::{accounts as accounts_rows, ledger};
use bulut_testkit::cloud::Setup;
use bulut_testkit::{Customer, Database, TestCloud};
use serde_json::Value;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn with_deletion(config: &mut Config) {
    config.dunning.delete_after_days = 3;
    config.dunning.delete_notice_days = 1;
}

/// Gives the account this balance.
async fn set_balance(cloud: &TestCloud, who: &Customer<'_>, micros: i64) {
    let has = ledger::balance(cloud.app().store(), who.account.id).await.unwrap();
    let change = Micros(micros) - has;
    payments::credit_by_hand(cloud.app(), &who.account.email, change, "", None).await.unwrap();
}

/// Lets hours pass, with a look after each.
async fn pass(cloud: &TestCloud, hours: u32) {
    for _ in 0..hours {
        cloud.app().clock().advance(HOUR);
        look(cloud.app()).await.unwrap();
    }
    cloud.run_until_idle().await;
}

async fn events(cloud: &TestCloud, who: &Customer<'_>) -> Vec<String> {
    let mut events = verbs::events_of(cloud.app(), &who.account.email).await.unwrap();
    events.reverse();
    events.into_iter().map(|event| event.kind).collect()
}

/// Names and states of the account's servers.
async fn servers(cloud: &TestCloud, who: &Customer<'_>) -> Vec<(String, String)> {
    let again = cloud.sign_in(&who.account).await;
    let text = |server: &Value, member: &str| server[member].as_str().unwrap().to_owned();
    again.servers().await.iter().map(|server| (text(server, "name"), text(server, "state"))).collect()
}

fn states(listed: &[(&str, &str)]) -> Vec<(String, String)> {
    listed.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

async fn begin(setup: Setup) -> TestCloud {
    let cloud = TestCloud::with(setup).await;
    look(cloud.app()).await.unwrap();
    cloud
}

/// A cloud with an account that has a server which runs and one which does not.
async fn with_servers(cloud: &TestCloud) -> Customer<'_> {
    let alice = cloud.customer("alice").await;
    alice.running_server("web1").await;
    let off = alice.running_server("web2").await;
    alice.send("POST", &format!("/v1/server/{off}/stop"), "").await.data();
    cloud.run_until_idle().await;
    alice
}

async fn is_suspended_and_resumed(database: Database) {
    let mut cloud = begin(Setup { database, ..Setup::default() }).await;
    let account = {
        let alice = with_servers(&cloud).await;
        let before = alice.servers().await;
        pass(&cloud, 30).await;
        assert_eq!(events(&cloud, &alice).await, Vec::<String>::new());
        set_balance(&cloud, &alice, 4_999_999).await;
        pass(&cloud, 1).await;
        pass(&cloud, 1).await;
        assert_eq!(events(&cloud, &alice).await, ["balance_low"]);
        // It is used up long before the day is over.
        set_balance(&cloud, &alice, -3).await;
        pass(&cloud, 22).await;
        assert_eq!(events(&cloud, &alice).await, ["balance_low"]);
        assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Running"), ("web2", "Stopped")]));
        pass(&cloud, 1).await;
        assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended"]);
        assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Stopped"), ("web2", "Stopped")]));
        let again = cloud.sign_in(&alice.account).await;
        let refused = again.send("POST", "/v1/server/1/start", "").await;
        assert!(refused.refusal(403).contains("Top it up"), "{}", refused.text);
        let now = again.servers().await;
        assert_eq!(now[0]["networks"], before[0]["networks"], "addresses are kept");
        // Nothing is deleted unless that is set, and a new process does nothing twice.
        pass(&cloud, 100).await;
        alice.account.clone()
    };
    cloud.restart().await;
    let alice = cloud.sign_in(&account).await;
    pass(&cloud, 1).await;
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended"]);
    assert_eq!(templates(&cloud).await, ["verification", "low_balance", "suspension"]);
    // Not enough, then enough; at once, without any look.
    set_balance(&cloud, &alice, -1).await;
    set_balance(&cloud, &alice, 40_000_000).await;
    cloud.run_until_idle().await;
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Running"), ("web2", "Stopped")]));
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended", "resumed"]);
    assert_eq!(templates(&cloud).await, ["verification", "low_balance", "suspension", "resumption"]);
    pass(&cloud, 30).await;
    assert_eq!(events(&cloud, &alice).await.len(), 3);
    // The next time it begins anew.
    set_balance(&cloud, &alice, -1).await;
    pass(&cloud, 1).await;
    assert_eq!(events(&cloud, &alice).await.last().unwrap(), "balance_low");
    set_balance(&cloud, &alice, 40_000_000).await;
    pass(&cloud, 48).await;
    assert_eq!(events(&cloud, &alice).await.len(), 4);
    assert_eq!(templates(&cloud).await.len(), 5);
}

#[tokio::test]
async fn who_runs_out_is_warned_suspended_and_active_again_once_it_pays_on_sqlite() {
    is_suspended_and_resumed(Database::Sqlite).await;
}

#[tokio::test]
async fn who_runs_out_is_warned_suspended_and_active_again_once_it_pays_on_postgres() {
    is_suspended_and_resumed(Database::Postgres).await;
}

async fn is_deleted(database: Database) {
    let cloud = begin(Setup { database, configure: with_deletion, ..Setup::default() }).await;
    let alice = with_servers(&cloud).await;
    let id = alice.servers().await[0]["id"].as_i64().unwrap();
    alice.send("POST", "/v1/snapshot/create", &format!("id={id}&name=one")).await.data();
    cloud.run_until_idle().await;
    let bob = cloud.customer("bob").await;
    bob.running_server("other").await;
    set_balance(&cloud, &alice, -5_000_000).await;
    pass(&cloud, 1 + 24).await;
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended"]);
    pass(&cloud, 47).await;
    assert_eq!(events(&cloud, &alice).await.len(), 2);
    pass(&cloud, 1).await;
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended", "deletion_announced"]);
    pass(&cloud, 23).await;
    assert_eq!(servers(&cloud, &alice).await.len(), 2);
    pass(&cloud, 1).await;
    let all = ["balance_low", "suspended", "deletion_announced", "deleted"];
    assert_eq!(events(&cloud, &alice).await, all);
    assert_eq!(servers(&cloud, &alice).await, []);
    let again = cloud.sign_in(&alice.account).await;
    assert_eq!(again.snapshots().await, Vec::<Value>::new());
    assert_eq!(cloud.world().machines().len(), 1, "only that of somebody else is left");
    assert_eq!(servers(&cloud, &bob).await, states(&[("other", "Running")]));
    pass(&cloud, 50).await;
    assert_eq!(events(&cloud, &alice).await, all);
    let expected =
        ["verification", "verification", "low_balance", "suspension", "deletion_notice", "deletion"];
    assert_eq!(templates(&cloud).await, expected);
    set_balance(&cloud, &alice, 40_000_000).await;
    let again = cloud.sign_in(&alice.account).await;
    again.running_server("web3").await;
    assert_eq!(events(&cloud, &alice).await.last().unwrap(), "resumed");
}

#[tokio::test]
async fn who_does_not_pay_is_emptied_where_that_is_set_on_sqlite() {
    is_deleted(Database::Sqlite).await;
}

#[tokio::test]
async fn who_does_not_pay_is_emptied_where_that_is_set_on_postgres() {
    is_deleted(Database::Postgres).await;
}

#[tokio::test]
async fn a_clock_that_jumps_and_a_cloud_that_was_off_bring_nothing_forward() {
    let cloud = begin(Setup { configure: with_deletion, ..Setup::default() }).await;
    let alice = with_servers(&cloud).await;
    set_balance(&cloud, &alice, -5_000_000).await;
    pass(&cloud, 10).await;
    for stage in [1, 2, 3, 4] {
        assert_eq!(events(&cloud, &alice).await.len(), stage);
        // Years pass unseen.
        cloud.app().clock().advance(HOUR * 24 * 900);
        look(cloud.app()).await.unwrap();
        cloud.run_until_idle().await;
        assert_eq!(events(&cloud, &alice).await.len(), stage, "a jump of the clock counted");
        pass(&cloud, if stage == 2 { 48 } else { 24 }).await;
    }
    assert_eq!(events(&cloud, &alice).await.last().unwrap(), "deleted");
}

#[tokio::test]
async fn a_clock_that_was_ahead_keeps_nobody_waiting() {
    let cloud = begin(Setup::default()).await;
    let alice = with_servers(&cloud).await;
    cloud.app().clock().advance(HOUR * 24 * 900);
    set_balance(&cloud, &alice, -5_000_000).await;
    look(cloud.app()).await.unwrap();
    assert_eq!(events(&cloud, &alice).await, ["balance_low"]);
    // Set right again: what waits is moved back with it.
    let store = cloud.app().store();
    let now = cloud.app().clock().now();
    let right = Timestamp(now.0 - i64::try_from((HOUR * 24 * 900).as_micros()).unwrap());
    assert_eq!(bulut_store::dunning::tick(store, right).await.unwrap(), now);
    bulut_store::dunning::shift(store, right.0 - now.0).await.unwrap();
    let dunning = bulut_store::dunning::find(store, alice.account.id).await.unwrap();
    assert_eq!((dunning.entered_at, dunning.due_at), (right, Some(right.plus(HOUR * 24))));
}

#[tokio::test]
async fn many_who_look_at_once_take_each_step_once() {
    let cloud = begin(Setup { database: Database::Postgres, ..Setup::default() }).await;
    let alice = with_servers(&cloud).await;
    set_balance(&cloud, &alice, -5_000_000).await;
    for hours in 0..26 {
        cloud.app().clock().advance(HOUR);
        let looks = futures_util::future::join_all((0..4).map(|_| look(cloud.app()))).await;
        assert!(looks.into_iter().all(|looked| looked.is_ok()), "after {hours} hours");
    }
    cloud.run_until_idle().await;
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended"]);
    assert_eq!(templates(&cloud).await, ["verification", "low_balance", "suspension"]);
    let stops = bulut_store::operations::count(cloud.app().store()).await.unwrap();
    let stops = stops.iter().find(|(kind, ..)| kind == "server_stop").unwrap().2;
    assert_eq!(stops, 2, "one by its owner, one by us");
}

#[tokio::test]
async fn a_server_that_an_operation_holds_is_stopped_when_that_has_ended() {
    let cloud = begin(Setup::default()).await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    set_balance(&cloud, &alice, -1).await;
    pass(&cloud, 24).await;
    let again = cloud.sign_in(&alice.account).await;
    again.send("POST", &format!("/v1/server/{server}/reboot"), "").await.data();
    cloud.app().clock().advance(HOUR);
    look(cloud.app()).await.unwrap();
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended"]);
    cloud.run_until_idle().await;
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Running")]));
    pass(&cloud, 1).await;
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Stopped")]));
    // Paid while it is being stopped: it is started when that has ended.
    set_balance(&cloud, &alice, 40_000_000).await;
    cloud.run_until_idle().await;
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Running")]));
}

#[tokio::test]
async fn a_payment_while_servers_are_being_stopped_starts_them_when_that_has_ended() {
    let cloud = begin(Setup::default()).await;
    let alice = cloud.customer("alice").await;
    alice.running_server("web1").await;
    set_balance(&cloud, &alice, -1).await;
    for _ in 0..25 {
        cloud.app().clock().advance(HOUR);
        look(cloud.app()).await.unwrap();
    }
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended"]);
    set_balance(&cloud, &alice, 40_000_000).await;
    cloud.run_until_idle().await;
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Stopped")]));
    pass(&cloud, 1).await;
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Running")]));
}

#[tokio::test]
async fn an_operators_own_suspension_is_not_lifted_by_money_and_the_operators_word_lifts_both() {
    let cloud = begin(Setup::default()).await;
    let alice = with_servers(&cloud).await;
    set_balance(&cloud, &alice, -1).await;
    pass(&cloud, 25).await;
    let standing = async || accounts::named(cloud.app(), "alice").await.unwrap().standing;
    assert_eq!(standing().await, Standing::Suspended);
    // Both suspended it; money ends only the one.
    accounts::set_standing(cloud.app(), "alice", Standing::Suspended).await.unwrap();
    set_balance(&cloud, &alice, 40_000_000).await;
    assert_eq!(standing().await, Standing::Suspended);
    let lifted = accounts::set_standing(cloud.app(), "alice", Standing::Active).await.unwrap();
    assert_eq!(lifted.standing, Standing::Active);
    // Pardoned without having paid, it begins with a warning anew.
    set_balance(&cloud, &alice, -1).await;
    pass(&cloud, 25).await;
    assert_eq!(standing().await, Standing::Suspended);
    assert_eq!(
        accounts::set_standing(cloud.app(), "alice", Standing::Active).await.unwrap().standing,
        Standing::Active
    );
    cloud.run_until_idle().await;
    pass(&cloud, 24).await;
    assert_eq!(standing().await, Standing::Active);
    pass(&cloud, 1).await;
    assert_eq!(standing().await, Standing::Suspended);
}

#[tokio::test]
async fn who_has_nothing_or_is_exempt_hears_nothing_and_servers_stay_off_where_that_is_set() {
    let quiet = begin(Setup { configure: |config| config.dunning.enabled = false, ..Setup::default() }).await;
    let bob = with_servers(&quiet).await;
    set_balance(&quiet, &bob, -9_000_000).await;
    pass(&quiet, 30).await;
    assert_eq!(events(&quiet, &bob).await, Vec::<String>::new());
    let cloud = begin(Setup { configure: |config| config.dunning.restart = false, ..Setup::default() }).await;
    let poor = cloud.customer("poor").await;
    set_balance(&cloud, &poor, -9_000_000).await;
    let alice = with_servers(&cloud).await;
    set_balance(&cloud, &alice, -1).await;
    pass(&cloud, 30).await;
    assert_eq!(events(&cloud, &poor).await, Vec::<String>::new());
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended"]);
    let told = cloud.sign_in(&alice.account).await.send("GET", "/v2/account/events", "").await.json();
    assert_eq!(told[0]["kind"], "suspended");
    set_balance(&cloud, &alice, 40_000_000).await;
    pass(&cloud, 2).await;
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Stopped"), ("web2", "Stopped")]));
}

#[tokio::test]
async fn who_pays_later_is_left_alone_and_who_begins_to_is_active_again() {
    let cloud = begin(Setup::default()).await;
    let alice = cloud.customer("alice").await;
    alice.running_server("web1").await;
    let store = cloud.app().store();
    accounts_rows::set_postpaid(store, alice.account.id, true).await.unwrap();
    set_balance(&cloud, &alice, -9_000_000).await;
    pass(&cloud, 30).await;
    assert_eq!(events(&cloud, &alice).await, Vec::<String>::new());
    accounts_rows::set_postpaid(store, alice.account.id, false).await.unwrap();
    pass(&cloud, 26).await;
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Stopped")]));
    accounts_rows::set_postpaid(store, alice.account.id, true).await.unwrap();
    pass(&cloud, 1).await;
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended", "resumed"]);
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Running")]));
}

#[tokio::test]
async fn what_is_deleted_costs_nothing_any_more_and_what_was_used_counts_before_it_is_charged() {
    let cloud = begin(Setup { configure: with_deletion, ..Setup::default() }).await;
    let alice = cloud.customer("alice").await;
    alice.running_server("web1").await;
    // Enough by the books, but not with the hours that are not charged yet.
    set_balance(&cloud, &alice, 5_000_000).await;
    pass(&cloud, 1).await;
    assert_eq!(
        events(&cloud, &alice).await,
        Vec::<String>::new(),
        "the books alone are looked through first"
    );
    bulut::reconcile::charging::look(cloud.app()).await.unwrap();
    pass(&cloud, 1).await;
    assert_eq!(events(&cloud, &alice).await, ["balance_low"]);
    set_balance(&cloud, &alice, -9_000_000).await;
    pass(&cloud, 24 * 4 + 1).await;
    assert_eq!(events(&cloud, &alice).await.last().unwrap(), "deleted");
    bulut::reconcile::charging::look(cloud.app()).await.unwrap();
    let owed = ledger::balance(cloud.app().store(), alice.account.id).await.unwrap();
    pass(&cloud, 5).await;
    bulut::reconcile::charging::look(cloud.app()).await.unwrap();
    let later = ledger::balance(cloud.app().store(), alice.account.id).await.unwrap();
    assert!((owed - later).0 < 10_000, "{owed} became {later}");
}

/// Wherever a process dies in a look or in a payment, the next one makes the same of it.
#[tokio::test]
async fn a_process_that_dies_after_any_statement_takes_no_step_twice_and_none_by_halves() {
    let mut cloud = begin(Setup::default()).await;
    let account = {
        let alice = cloud.customer("alice").await;
        alice.running_server("web1").await;
        set_balance(&cloud, &alice, -1).await;
        alice.account.clone()
    };
    for (hours, kind) in [(0, "balance_low"), (23, "suspended")] {
        pass(&cloud, hours).await;
        cloud.app().clock().advance(HOUR);
        let alice = cloud.sign_in(&account).await;
        let mut statements = 0;
        loop {
            cloud.app().store().die_after(statements);
            // An account that was not looked at is only logged.
            let looked = look(cloud.app()).await;
            cloud.app().store().die_after(u32::MAX);
            let events = events(&cloud, &alice).await;
            if events.last().is_some_and(|last| last == kind) {
                break;
            }
            assert!(looked.is_err() || statements > 0, "{looked:?}");
            assert!(statements < 200, "it never comes so far");
            statements += 1;
        }
        assert!(statements > 10, "only {statements} statements");
    }
    cloud.run_until_idle().await;
    cloud.restart().await;
    let alice = cloud.sign_in(&account).await;
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended"]);
    assert_eq!(templates(&cloud).await, ["verification", "low_balance", "suspension"]);
    let before = ledger::balance(cloud.app().store(), account.id).await.unwrap();
    for statements in 0.. {
        cloud.app().store().die_after(statements);
        let credited =
            payments::credit_by_hand(cloud.app(), "alice", Micros(40_000_000), "", Some("transfer")).await;
        cloud.app().store().die_after(u32::MAX);
        if credited.is_ok() {
            assert!(statements > 10, "only {statements} statements");
            break;
        }
    }
    let after = ledger::balance(cloud.app().store(), account.id).await.unwrap();
    assert_eq!(after - before, Micros(40_000_000));
    cloud.run_until_idle().await;
    assert_eq!(events(&cloud, &alice).await, ["balance_low", "suspended", "resumed"]);
    assert_eq!(servers(&cloud, &alice).await, states(&[("web1", "Running")]));
}

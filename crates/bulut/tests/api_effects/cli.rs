//! The commands that call them, as the program itself runs them against a cloud on loopback.

use super::{ALICES_KEY, get};
use bulut_model::ServerId;
use bulut_model::traffic::{Minute, Sample};
use bulut_store::traffic;
use bulut_testkit::cloud::BEGINNING;
use bulut_testkit::{Customer, Shell, TestCloud};
use serde_json::{Value, json};

async fn shell(cloud: &TestCloud) -> Shell {
    Shell::open(cloud, env!("CARGO_BIN_EXE_bulut")).await
}

async fn tags_of(customer: &Customer<'_>, server: i64) -> Value {
    get(customer, &format!("/v1/server/{server}")).await[0]["tags"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_renamed_and_removed() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let shell = shell(&cloud).await;
    let file = shell.write("id.pub", ALICES_KEY);
    shell.done(&["key", "add", file.to_str().unwrap(), "--name", "laptop"]).await;
    assert_eq!(shell.done(&["key", "rename", "laptop", "desktop"]).await, "name  desktop\n");
    let keys = get(&alice, "/v1/sshkey/list").await;
    let fingerprint = keys["desktop"]["fingerprint"].as_str().unwrap();
    assert_eq!(shell.json(&["key", "rename", fingerprint, "tower"]).await, json!({"name": "tower"}));
    let refused = shell.refused(&["key", "remove", "laptop"]).await;
    assert!(refused.contains("'laptop'") && refused.contains("hint: bulut key list"), "{refused}");
    shell.done(&["key", "rm", "tower"]).await;
    assert_eq!(get(&alice, "/v1/sshkey/list").await, json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_added_listed_set_and_removed() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let (web1, web2) = (alice.running_server("web1").await, alice.running_server("web2").await);
    let shell = shell(&cloud).await;
    shell.done(&["tag", "add", "prod,blue", "web1", &web2.to_string()]).await;
    assert_eq!(tags_of(&alice, web1).await, json!(["blue", "prod"]));
    assert_eq!(tags_of(&alice, web2).await, json!(["blue", "prod"]));
    let listed = shell.done(&["tag", "list"]).await;
    assert_eq!(
        listed,
        "TAG   SERVERS  SINCE\nblue  2        2026-01-01T00:00:00Z\nprod  2        2026-01-01T00:00:00Z\n"
    );
    assert_eq!(shell.json(&["tag", "ls"]).await, get(&alice, "/v1/tags/list").await);
    shell.done(&["tag", "set", "web1", "green", "prod"]).await;
    assert_eq!(tags_of(&alice, web1).await, json!(["green", "prod"]));
    shell.refused(&["tag", "set", "web1"]).await;
    shell.done(&["tag", "set", "web1", "--none"]).await;
    assert_eq!(tags_of(&alice, web1).await, json!([]));
    shell.done(&["tag", "remove", "prod"]).await;
    assert_eq!(tags_of(&alice, web2).await, json!(["blue"]));
    let refused = shell.refused(&["tag", "rm", "prod"]).await;
    assert!(refused.contains("'prod'") && refused.contains("hint: bulut tag list"), "{refused}");
    let refused = shell.refused(&["tag", "add", "a b", "web1"]).await;
    assert!(refused.contains("tags"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invoices_transactions_and_usage_are_shown() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let shell = shell(&cloud).await;
    assert_eq!(shell.json(&["invoice", "list"]).await, json!([]));
    let said = shell.run(&["invoice", "list"]).await;
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", "There are none.\n"));
    let listed = shell.done(&["transaction", "list"]).await;
    assert!(listed.contains("Opening credit") && listed.contains("50"), "{listed}");
    assert_eq!(shell.json(&["transaction", "ls"]).await, get(&alice, "/v1/transaction/list").await);
    assert_eq!(shell.json(&["transaction", "list", "--before", "0", "--limit", "5"]).await, json!([]));
    let minute = Minute(Minute::of(BEGINNING).0 - 1);
    let sample = Sample { minute, received_bytes: 128_088, sent_bytes: 6_960 };
    traffic::add(cloud.app().store(), ServerId(server), &sample).await.unwrap();
    let shown = shell.done(&["usage", "web1", "--step", "minute"]).await;
    assert_eq!(
        shown,
        "FROM                  RECEIVED KIB  SENT KIB\n2025-12-31T23:59:00Z  125.1         6.8\n"
    );
    let hours = shell.json(&["usage", &server.to_string(), "--from", "2025-12-31T00:00:00Z"]).await;
    assert_eq!(hours["incoming"], json!([[125.085_937_5, 1_767_222_000]]));
    let refused = shell.refused(&["usage", "web1", "--step", "week"]).await;
    assert!(refused.contains("step"), "{refused}");
}

#[tokio::test]
async fn firewall_and_address_commands_change_what_the_machine_holds_to() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let shell = shell(&cloud).await;
    let nic = || cloud.world().machine(ServerId(server)).unwrap().spec.unwrap().nic;
    let rules = || nic().firewall.iter().map(ToString::to_string).collect::<Vec<_>>();
    let change = async |arguments: &[&str]| {
        let said = shell.done(&[&["server"], arguments, &["--no-wait"]].concat()).await;
        cloud.run_until_idle().await;
        said
    };
    change(&["firewall", "add", "web1", "in", "deny", "tcp"]).await;
    let first = ["firewall", "add", "web1", "in", "allow", "tcp", "22", "10.0.0.0/8", "--position", "1"];
    change(&first).await;
    assert_eq!(rules(), ["in allow tcp 22 10.0.0.0/8", "in deny tcp any any"]);
    let listed = shell.done(&["server", "firewall", "list", "web1"]).await;
    assert!(listed.contains("10.0.0.0/8") && listed.contains("deny"), "{listed}");
    change(&["firewall", "remove", "web1", "1"]).await;
    assert_eq!(rules(), ["in deny tcp any any"]);
    let file = shell.write("rules", "# the office\nin allow any any 192.0.2.0/24\nin deny # the rest\n");
    change(&["firewall", "set", "web1", "--file", file.to_str().unwrap()]).await;
    assert_eq!(rules(), ["in allow any any 192.0.2.0/24", "in deny any any any"]);
    let refused = shell.refused(&["server", "firewall", "set", "web1", "in deny sctp"]).await;
    assert!(refused.contains("rule 1") && refused.contains("sctp"), "{refused}");
    change(&["firewall", "set", "web1", "--clear"]).await;
    assert_eq!(rules(), [""; 0]);

    let said = change(&["address", "add", "web1", "--quiet"]).await;
    let further = nic().more_ipv4[0].to_string();
    assert_eq!(said.trim(), further);
    let listed = shell.json(&["server", "address", "list", "web1"]).await;
    assert!(
        listed["addresses"].as_array().unwrap().iter().any(|it| it["address"] == json!(further)),
        "{listed}"
    );
    let shown = shell.json(&["server", "show", "web1"]).await;
    assert_eq!((&shown["further_ipv4"], &shown["forged_frames"]), (&json!([further]), &json!(0)));
    change(&["address", "remove", "web1", &further]).await;
    assert!(nic().more_ipv4.is_empty());
    let refused = shell.refused(&["server", "address", "remove", "web1", &further]).await;
    assert!(refused.contains("no further address"), "{refused}");
}

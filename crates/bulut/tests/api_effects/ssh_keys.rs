//! SSH keys get other names and go.

use super::{ALICES_KEY, OTHER_KEY, get};
use bulut_model::ServerId;
use bulut_testkit::http::{escaped, form};
use bulut_testkit::{Customer, TestCloud};
use serde_json::{Value, json};

async fn add(customer: &Customer<'_>, name: &str, line: &str) -> String {
    let fields = form(&[("name", name), ("public_key", line)]);
    assert_eq!(customer.send("POST", "/v1/sshkey/create", &fields).await.data(), true);
    keys(customer).await[name]["fingerprint"].as_str().unwrap().to_owned()
}

async fn keys(customer: &Customer<'_>) -> Value {
    get(customer, "/v1/sshkey/list").await
}

/// Alice's key by every name that it has.
fn names_of(md5: &str) -> [String; 8] {
    [
        md5.to_owned(),
        md5.to_uppercase(),
        format!("MD5:{md5}"),
        format!("md5:{}", md5.to_uppercase()),
        md5.replace(':', ""),
        "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU".into(),
        "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU=".into(),
        "laptop".into(),
    ]
}

#[tokio::test]
async fn a_key_is_renamed_by_whatever_names_it() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let md5 = add(&alice, "laptop", ALICES_KEY).await;
    let renamed = |name: &str| json!({name: {"name": name, "public_key": ALICES_KEY, "fingerprint": md5}});
    for fingerprint in names_of(&md5) {
        let fields = form(&[("fingerprint", &fingerprint), ("name", "SSTest2")]);
        assert_eq!(alice.send("PUT", "/v1/sshkey/update", &fields).await.data(), true, "{fingerprint}");
        assert_eq!(keys(&alice).await, renamed("SSTest2"), "{fingerprint}");
        let back = json!({"fingerprint": md5, "name": "laptop"});
        assert_eq!(alice.send_json("PUT", "/v1/sshkey/update", &back).await.data(), true);
        assert_eq!(keys(&alice).await, renamed("laptop"));
    }
    // The query fills what the body lacks.
    let path = format!("/v1/sshkey/update?fingerprint={}", escaped(&md5));
    assert_eq!(alice.send("PUT", &path, "name=desktop&fingerprint=").await.data(), true);
    assert_eq!(keys(&alice).await, renamed("desktop"));
    // Its own name is free for it.
    assert_eq!(alice.send("PUT", &path, "name=desktop").await.data(), true);
}

#[tokio::test]
async fn a_name_is_taken_in_its_account_only() {
    let cloud = TestCloud::new().await;
    let (alice, bob) = (cloud.customer("alice").await, cloud.customer("bob").await);
    let md5 = add(&alice, "laptop", ALICES_KEY).await;
    add(&alice, "desktop", OTHER_KEY).await;
    add(&bob, "tower", ALICES_KEY).await;
    let update = |fingerprint: &str, name: &str| form(&[("fingerprint", fingerprint), ("name", name)]);
    let refused = alice.send("PUT", "/v1/sshkey/update", &update(&md5, "desktop")).await;
    assert!(refused.refusal(409).contains("desktop"));
    assert_eq!(refused.word(), "exists");
    assert_eq!(alice.send("PUT", "/v1/sshkey/update", &update(&md5, "tower")).await.data(), true);
    assert_eq!(keys(&bob).await["tower"]["fingerprint"], md5.as_str());
    assert_eq!(keys(&alice).await["tower"]["fingerprint"], md5.as_str());
}

#[tokio::test]
async fn a_name_that_looks_like_another_keys_fingerprint_is_the_weaker_one() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let md5 = add(&alice, "laptop", ALICES_KEY).await;
    add(&alice, &md5, OTHER_KEY).await;
    let fields = form(&[("fingerprint", md5.as_str())]);
    assert_eq!(alice.send("DELETE", "/v1/sshkey/destroy", &fields).await.data(), true);
    assert_eq!(keys(&alice).await[&md5]["public_key"], OTHER_KEY);
    // Now it names what is left.
    assert_eq!(alice.send("DELETE", "/v1/sshkey/destroy", &fields).await.data(), true);
    assert_eq!(keys(&alice).await, json!({}));
}

#[tokio::test]
async fn a_key_is_removed_by_whatever_names_it_and_from_wherever_that_stands() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    for number in 0..10 {
        let md5 = add(&alice, "laptop", ALICES_KEY).await;
        let fingerprint = names_of(&md5)[number % 8].clone();
        let answer = match number {
            8 => {
                let path = format!("/v1/sshkey/destroy?fingerprint={}", escaped(&fingerprint));
                alice.send("DELETE", &path, "").await
            }
            9 => {
                let body = json!({"fingerprint": fingerprint});
                alice.send_json("DELETE", "/v1/sshkey/destroy", &body).await
            }
            _ => alice.send("DELETE", "/v1/sshkey/destroy", &form(&[("fingerprint", &fingerprint)])).await,
        };
        assert_eq!(answer.data(), true, "{fingerprint}");
        assert_eq!(keys(&alice).await, json!({}), "{fingerprint}");
        let again = alice.send("DELETE", "/v1/sshkey/destroy", &form(&[("fingerprint", &fingerprint)])).await;
        assert!(again.refusal(404).contains(&fingerprint));
    }
}

#[tokio::test]
async fn servers_keep_the_keys_that_they_were_made_with() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let md5 = add(&alice, "laptop", ALICES_KEY).await;
    let order = "name=web1&region=ist2&package=eos1&image=tiny&ssh_keys=laptop";
    let id = alice.send("POST", "/v1/server/create", order).await.data()["id"].as_i64().unwrap();
    // It is gone before the machine is made.
    alice.send("DELETE", "/v1/sshkey/destroy", &form(&[("fingerprint", &md5)])).await.data();
    cloud.run_until_idle().await;
    assert_eq!(cloud.world().machine(ServerId(id)).unwrap().spec.unwrap().seed.ssh_keys, [ALICES_KEY]);
    // A new order knows it no more.
    assert!(alice.send("POST", "/v1/server/create", order).await.refusal(400).contains("laptop"));
}

#[tokio::test]
async fn a_new_server_takes_a_key_by_its_sha256_fingerprint_too() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let md5 = add(&alice, "laptop", ALICES_KEY).await;
    for name in names_of(&md5) {
        let order =
            [("name", "a"), ("region", "ist2"), ("package", "eos1"), ("image", "tiny"), ("ssh_key", &name)];
        let id = alice.send("POST", "/v1/server/create", &form(&order)).await.data()["id"].as_i64().unwrap();
        cloud.run_until_idle().await;
        let seed = cloud.world().machine(ServerId(id)).unwrap().spec.unwrap().seed;
        assert_eq!(seed.ssh_keys, [ALICES_KEY], "{name}");
    }
}

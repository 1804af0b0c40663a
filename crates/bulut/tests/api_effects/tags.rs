//! Tags come on servers, are listed, are set and go.

use super::get;
use bulut_testkit::http::form;
use bulut_testkit::{Customer, TestCloud};
use serde_json::{Value, json};
use std::time::Duration;

async fn on(customer: &Customer<'_>, server: i64) -> Value {
    get(customer, &format!("/v1/server/{server}")).await[0]["tags"].clone()
}

async fn listed(customer: &Customer<'_>) -> Value {
    get(customer, "/v1/tags/list").await
}

async fn two_servers(cloud: &TestCloud, customer: &Customer<'_>) -> (i64, i64) {
    let servers = (customer.order_server("web1").await.0, customer.order_server("web2").await.0);
    cloud.run_until_idle().await;
    servers
}

#[tokio::test]
async fn every_tag_comes_on_every_server_in_every_spelling() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let (a, b) = two_servers(&cloud, &alice).await;
    let spellings = [
        format!("sub_ids%5B%5D={a}&sub_ids%5B%5D={b}&tags%5B%5D=web1&tags%5B%5D=ftp1"),
        format!("sub_ids[]={a}&sub_ids[]={b}&tags[]=web1&tags[]=ftp1"),
        format!("sub_ids[1]={b}&sub_ids[0]={a}&tags[0]=web1&tags[1]=ftp1"),
        format!("sub_ids={a},{b}&tags=web1,ftp1"),
        format!("sub_ids=%20{a}%20,,{b}&tags=%20ftp1%20,web1,ftp1"),
        format!("sub_ids={a}&sub_ids={b}&tags=web1&tags=ftp1"),
        format!("sub_ids[]={a},{b}&tags[]=ftp1,web1"),
        format!("sub_id[]={a}&sub_id[]={b}&tags[]=web1&tags[]=ftp1"),
    ];
    let json_bodies = [
        json!({"sub_ids": [a, b], "tags": ["web1", "ftp1"]}),
        json!({"sub_ids": [a.to_string(), b.to_string()], "tags": "web1,ftp1"}),
        json!({"sub_ids": {"0": a, "1": b}, "tags": {"1": "web1", "0": "ftp1"}}),
        json!({"sub_ids[]": [a, b], "tags[]": ["web1", "ftp1"]}),
        json!({"sub_ids": format!("{a},{b}"), "tags": [["web1"], ["ftp1"]]}),
    ];
    let multipart = |boundary: &str| {
        let part = |name: &str, value: &str| {
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let parts = [
            part("sub_ids[]", &a.to_string()),
            part("sub_ids[]", &b.to_string()),
            part("tags[]", "web1"),
            part("tags[]", "ftp1"),
        ];
        parts.concat() + &format!("--{boundary}--\r\n")
    };
    let forms = spellings.map(|body| ("application/x-www-form-urlencoded", body));
    let jsons = json_bodies.map(|body| ("application/json", body.to_string()));
    let others = [
        ("multipart/form-data; boundary=XoX", multipart("XoX")),
        ("text/plain", format!("sub_ids={a},{b}&tags=web1,ftp1")),
        ("", json!({"sub_ids": [a, b], "tags": ["web1", "ftp1"]}).to_string()),
    ];
    for (content_type, body) in forms.into_iter().chain(jsons).chain(others) {
        let bearer = format!("Bearer {}", alice.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
        let answer = cloud.send("POST", "/v1/tags/create", &headers, &body).await;
        assert_eq!(answer.data(), true, "{content_type} {body}");
        for server in [a, b] {
            assert_eq!(on(&alice, server).await, json!(["ftp1", "web1"]), "{content_type} {body}");
        }
        for tag in ["web1", "ftp1"] {
            assert_eq!(alice.send("DELETE", "/v1/tags/destroy", &format!("tag={tag}")).await.data(), true);
        }
        assert_eq!(on(&alice, a).await, json!([]));
    }
    // On a POST the query counts as well.
    let path = format!("/v1/tags/create?sub_ids[]={a}&sub_ids[]={b}&tags[]=web1");
    assert_eq!(alice.send("POST", &path, "").await.data(), true);
    assert_eq!(on(&alice, b).await, json!(["web1"]));
}

#[tokio::test]
async fn tags_are_counted_since_their_first_use_and_existing_ones_are_skipped() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let bob = cloud.customer("bob").await;
    let (a, b) = two_servers(&cloud, &alice).await;
    assert_eq!(listed(&alice).await, json!([]));
    let tag = async |form: String| alice.send("POST", "/v1/tags/create", &form).await.data();
    tag(format!("sub_ids={a}&tags=web1")).await;
    cloud.app().clock().advance(Duration::from_secs(60));
    tag(format!("sub_ids={a},{b}&tags=web1,ftp1")).await;
    let expected = json!([
        {"count": 2, "tag": "web1", "created_at": "2026-01-01T00:00:00Z"},
        {"count": 2, "tag": "ftp1", "created_at": "2026-01-01T00:01:00Z"},
    ]);
    assert_eq!(listed(&alice).await, expected);
    assert_eq!(listed(&bob).await, json!([]));
    // The first server that carried it goes; the tag is as old as before.
    alice.send("DELETE", &format!("/v1/server/{a}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!(
        listed(&alice).await[0],
        json!({"count": 1, "tag": "web1", "created_at": "2026-01-01T00:00:00Z"})
    );
    let server = alice.send(
        "POST",
        "/v1/server/create",
        "name=web3&region=ist2&package=eos1&image=tiny&tags=web1,new",
    );
    server.await.data();
    cloud.run_until_idle().await;
    assert_eq!(listed(&alice).await[0]["count"], 2);
    alice.send("DELETE", &format!("/v1/server/{b}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    let tags = listed(&alice).await;
    let words: Vec<&Value> = tags.as_array().unwrap().iter().map(|tag| &tag["tag"]).collect();
    assert_eq!(words, ["web1", "new"]);
}

#[tokio::test]
async fn one_server_that_is_not_the_callers_and_nothing_has_changed() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let mallory = cloud.customer("mallory").await;
    let (a, gone) = two_servers(&cloud, &alice).await;
    alice.send("DELETE", &format!("/v1/server/{gone}/destroy"), "").await.data();
    let foreign = mallory.running_server("web1").await;
    cloud.run_until_idle().await;
    mallory.send("POST", "/v1/tags/create", &format!("sub_ids={foreign}&tags=hers")).await.data();
    let before = cloud.state().await;
    for other in [foreign, gone, 4711, -1, 0] {
        let refused = alice.send("POST", "/v1/tags/create", &format!("sub_ids={a},{other}&tags=web")).await;
        assert_eq!(refused.refusal(404), format!("There is no server with the sub_ids {other}."));
        let refused = alice.send("PUT", "/v1/tags/update", &format!("sub_id={other}&tags=web")).await;
        assert_eq!(refused.refusal(404), format!("There is no server with the sub_id {other}."));
    }
    let refused = alice.send("DELETE", "/v1/tags/destroy", "tag=hers").await.refusal(404);
    let unknown = alice.send("DELETE", "/v1/tags/destroy", "tag=his").await.refusal(404);
    assert_eq!(refused.replace("hers", "his"), unknown);
    assert_eq!(before, cloud.state().await);
    assert_eq!(on(&mallory, foreign).await, json!(["hers"]));
}

#[tokio::test]
async fn a_servers_tags_become_exactly_these() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let (a, b) = two_servers(&cloud, &alice).await;
    alice.send("POST", "/v1/tags/create", &format!("sub_ids={a},{b}&tags=old,kept")).await.data();
    cloud.app().clock().advance(Duration::from_secs(60));
    for (form, expected) in [
        // The document's own example.
        (format!("sub_id={a}&tags=asdsa%20asd%20asd"), json!(["asd", "asdsa"])),
        (format!("id={a}&tags=kept,x"), json!(["kept", "x"])),
        (format!("subscription_id={a}&tags[]=kept&tags[]=y z"), json!(["kept", "y", "z"])),
        (format!("sub_id[]={a}&tags[1]=q&tags[0]=kept"), json!(["kept", "q"])),
        (format!("sub_id={a}&tags=%09kept%20%20,%0Aq"), json!(["kept", "q"])),
    ] {
        assert_eq!(alice.send("PUT", "/v1/tags/update", &form).await.data(), true, "{form}");
        assert_eq!(on(&alice, a).await, expected, "{form}");
        assert_eq!(on(&alice, b).await, json!(["kept", "old"]), "{form}");
    }
    let kept = json!({"count": 2, "tag": "kept", "created_at": "2026-01-01T00:00:00Z"});
    assert_eq!(listed(&alice).await[0], kept, "what stays keeps its age");
    // Empty text is not given; an array of nothing is, and only JSON has one.
    for form in [format!("sub_id={a}"), format!("sub_id={a}&tags="), format!("sub_id={a}&tags[]=")] {
        let sentence = alice.send("PUT", "/v1/tags/update", &form).await.refusal(400);
        assert!(sentence.contains("tags"), "{sentence}");
    }
    assert_eq!(on(&alice, a).await, json!(["kept", "q"]));
    for nothing in [json!([]), json!({})] {
        let body = json!({"sub_id": a, "tags": nothing});
        assert_eq!(alice.send_json("PUT", "/v1/tags/update", &body).await.data(), true);
        assert_eq!(on(&alice, a).await, json!([]));
        let body = json!({"sub_id": a, "tags": ["again"]});
        assert_eq!(alice.send_json("PUT", "/v1/tags/update", &body).await.data(), true);
    }
}

#[tokio::test]
async fn a_tag_leaves_all_servers() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let (a, b) = two_servers(&cloud, &alice).await;
    alice.send("POST", "/v1/tags/create", &format!("sub_ids={a},{b}&tags=ftp1,web1")).await.data();
    assert_eq!(alice.send("DELETE", "/v1/tags/destroy?tag=ftp1", "").await.data(), true);
    assert_eq!((on(&alice, a).await, on(&alice, b).await), (json!(["web1"]), json!(["web1"])));
    assert!(alice.send("DELETE", "/v1/tags/destroy", "tag=ftp1").await.refusal(404).contains("ftp1"));
    // Another case is another tag.
    alice.send("DELETE", "/v1/tags/destroy", "tag=WEB1").await.refusal(404);
    assert_eq!(alice.send("DELETE", "/v1/tags/destroy", "tag=%20web1%20").await.data(), true);
    assert_eq!(listed(&alice).await, json!([]));
}

#[tokio::test]
async fn a_server_has_32_tags_and_no_more() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let (a, b) = two_servers(&cloud, &alice).await;
    let words = |from: usize, to: usize| (from..to).map(|it| format!("t{it}")).collect::<Vec<_>>().join(",");
    let tag = async |servers: &str, words: &str| {
        let fields = form(&[("sub_ids", servers), ("tags", words)]);
        alice.send("POST", "/v1/tags/create", &fields).await
    };
    tag(&a.to_string(), &words(0, 31)).await.data();
    let before = cloud.state().await;
    // The other one has room, but it is all or nothing.
    let sentence = tag(&format!("{b},{a}"), "u0,u1").await.refusal(400);
    assert!(sentence.contains("tags") && sentence.contains("33") && sentence.contains("32"), "{sentence}");
    assert_eq!(before, cloud.state().await);
    assert_eq!(tag(&format!("{b},{a}"), "u0,t0").await.data(), true);
    tag(&a.to_string(), "one-more").await.refusal(400);
    tag(&a.to_string(), &words(0, 31)).await.data();
    let update = async |words: &str| {
        let fields = form(&[("sub_id", &b.to_string()), ("tags", words)]);
        alice.send("PUT", "/v1/tags/update", &fields).await
    };
    update(&words(0, 33)).await.refusal(400);
    assert_eq!(update(&words(1, 33)).await.data(), true);
    assert_eq!(on(&alice, b).await.as_array().unwrap().len(), 32);
}

#[tokio::test]
async fn tagging_waits_for_no_operation_and_a_list_that_was_read_before_is_not_told_again() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let (server, _) = alice.order_server("web1").await;
    let tags = async || alice.servers().await[0]["tags"].clone();
    // Asked twice, so that the second answer comes from whatever remembers lists.
    assert_eq!((tags().await, tags().await), (json!([]), json!([])));
    alice.send("POST", "/v1/tags/create", &format!("sub_ids={server}&tags=web,x")).await.data();
    assert_eq!((tags().await, tags().await), (json!(["web", "x"]), json!(["web", "x"])));
    alice.send("PUT", "/v1/tags/update", &format!("sub_id={server}&tags=y,x")).await.data();
    assert_eq!((tags().await, tags().await), (json!(["x", "y"]), json!(["x", "y"])));
    alice.send("DELETE", "/v1/tags/destroy", "tag=x").await.data();
    assert_eq!((tags().await, tags().await), (json!(["y"]), json!(["y"])));
    cloud.run_until_idle().await;
}

//! Every error of the contract: its status, its number, its sentence, and that it changes nothing.

use crate::client::{SMALL, assert_error, checked, client, give_pool};
use bulut::domain::accounts;
use bulut_model::account::Standing;
use bulut_model::catalog::Image;
use bulut_store::{images, regions};
use bulut_testkit::TestCloud;
use serde_json::json;

#[tokio::test]
async fn a_key_that_is_missing_or_wrong_is_101_and_403_at_every_call() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let bob = cloud.customer("bob").await;
    let client = client(&cloud, &alice).await;
    let server = alice.running_server("web1").await;
    let before = cloud.state().await;
    let cut = client.key[..client.key.len() - 1].to_owned();
    let longer = format!("{}x", client.key);
    let swapped = client.key.to_uppercase();
    for call in bulut::api::cac::CALLS.iter().flat_map(|call| call.paths) {
        let ask = async |key: &str, login: &str| {
            let pairs = [("key", key), ("login", login), ("sid", "1"), ("action", "reset"), ("mode", "safe")];
            checked(cloud.send("POST", call, &[], &bulut_testkit::http::form(&pairs)).await)
        };
        assert_error(&ask("", &client.login).await, 403, 101, "missing API key");
        for wrong in ["x", "bk", "bk0123456789", &cut, &longer, &swapped, "é".repeat(60).as_str(), "\0", "'"]
        {
            let answer = ask(wrong, &client.login).await;
            assert_error(&answer, 403, 101, "invalid API key");
        }
        for login in
            ["bob@example.com", bob.account.user_name.as_deref().unwrap(), "nobody", "alice@example.co"]
        {
            assert_error(&ask(&client.key, login).await, 403, 101, "invalid API key");
        }
        let unnamed = ask(&client.key, "").await;
        assert_eq!((unnamed.status.as_u16(), &unnamed.json()["error"]), (412, &103.into()));
        assert!(unnamed.json()["error_description"].as_str().unwrap().contains("login"));
    }
    assert_eq!(before, cloud.state().await);
    assert_eq!(client.server(server).await["mode"], "Normal");
}

#[tokio::test]
async fn what_is_missing_or_invalid_is_103_and_named() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let sid = alice.running_server("web1").await.to_string();
    let sid = sid.as_str();
    let long = "x".repeat(65);
    let before = cloud.state().await;
    for (call, pairs, named) in [
        ("powerop.php", vec![("action", "reset")], "sid"),
        ("powerop.php", vec![("sid", sid)], "action"),
        ("powerop.php", vec![("sid", sid), ("action", "explode")], "action"),
        ("powerop.php", vec![("sid", sid), ("action", "re\0set")], "action"),
        ("renameserver.php", vec![("sid", sid)], "name"),
        ("renameserver.php", vec![("sid", sid), ("name", long.as_str())], "name"),
        ("renameserver.php", vec![("sid", sid), ("name", "a\nb")], "name"),
        ("renameserver.php", vec![("sid", sid), ("name", "   ")], "name"),
        ("renameserver.php", vec![("name", "x")], "sid"),
        ("runmode.php", vec![("sid", sid)], "mode"),
        ("runmode.php", vec![("sid", sid), ("mode", "unsafe")], "mode"),
        ("rdns.php", vec![("sid", sid)], "hostname"),
        ("console.php", vec![], "sid"),
        ("cloudpro/delete.php", vec![], "sid"),
        ("cloudpro/build.php", vec![("ram", "512"), ("storage", "10"), ("os", "7")], "cpu"),
        ("cloudpro/build.php", vec![("cpu", "1"), ("storage", "10"), ("os", "7")], "ram"),
        ("cloudpro/build.php", vec![("cpu", "1"), ("ram", "512"), ("os", "7")], "storage"),
        ("cloudpro/build.php", vec![("cpu", "1"), ("ram", "512"), ("storage", "10")], "os"),
        ("cloudpro/build.php", vec![("cpu", "1"), ("ram", "513"), ("storage", "10"), ("os", "7")], "ram"),
        ("cloudpro/build.php", vec![("cpu", "1"), ("ram", "32772"), ("storage", "10"), ("os", "7")], "ram"),
        ("cloudpro/build.php", vec![("cpu", "1"), ("ram", "-512"), ("storage", "10"), ("os", "7")], "ram"),
        ("cloudpro/build.php", vec![("cpu", "1"), ("ram", "512"), ("storage", "9"), ("os", "7")], "storage"),
        (
            "cloudpro/build.php",
            vec![("cpu", "1"), ("ram", "512"), ("storage", "1001"), ("os", "7")],
            "storage",
        ),
        (
            "cloudpro/build.php",
            vec![("cpu", "1"), ("ram", "512"), ("storage", "10.5"), ("os", "7")],
            "storage",
        ),
    ] {
        let answer = client.post(call, &pairs).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (412, &103.into()), "{call} {pairs:?}");
        let said = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(said.contains(named), "{call} {pairs:?}: {said}");
    }
    assert_eq!(before, cloud.state().await);
}

/// Every call with every parameter, and a value that is good for it.
const PARAMETERS: [(&str, &[(&str, &str)]); 7] = [
    ("powerop.php", &[("sid", "1"), ("action", "reset")]),
    ("renameserver.php", &[("sid", "1"), ("name", "x")]),
    ("runmode.php", &[("sid", "1"), ("mode", "safe")]),
    ("rdns.php", &[("sid", "1"), ("hostname", "a.example.com")]),
    ("console.php", &[("sid", "1")]),
    ("cloudpro/delete.php", &[("sid", "1")]),
    ("cloudpro/build.php", &SMALL),
];

#[tokio::test]
async fn no_kind_of_bad_value_is_taken_for_a_good_one() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    assert_eq!(client.built().await, 1);
    let before = cloud.state().await;
    let long = "x".repeat(60_000);
    let texts = [
        long.as_str(),
        "a\0b",
        "\u{7f}",
        "../../etc/passwd",
        "' OR 1=1 --",
        "<script>",
        "９",
        "0x1",
        "1e0",
        "%",
    ];
    let others = [
        json!([]),
        json!({}),
        json!(["a", "b"]),
        json!({"a": 1}),
        json!([[{"a": 1}]]),
        json!(null),
        json!(true),
    ];
    for (call, parameters) in PARAMETERS {
        for (spoilt, _) in parameters {
            let values = texts.iter().map(|text| json!(text)).chain(others.iter().cloned());
            for value in
                values.filter(|value| *spoilt != "name" || value.as_str().is_none_or(|name| name.len() >= 65))
            {
                let mut body = serde_json::Map::from_iter(
                    parameters.iter().map(|(name, good)| ((*name).to_owned(), json!(good))),
                );
                body.extend([("key".into(), json!(client.key)), ("login".into(), json!(client.login))]);
                body.insert((*spoilt).to_owned(), value.clone());
                let body = serde_json::Value::from(body).to_string();
                let headers = [("content-type", "application/json")];
                let answer = checked(cloud.send("POST", &format!("/api/v1/{call}"), &headers, &body).await);
                let is_label = *spoilt == "name" && value == json!(true);
                assert!(is_label || answer.status == 412, "{call} {spoilt} {value}: {}", answer.text);
            }
            // What is not UTF-8, in a form.
            let mut pairs = client.said(parameters);
            pairs = pairs.replace(&format!("&{spoilt}="), &format!("&{spoilt}=%ff"));
            let answer = checked(cloud.send("POST", &format!("/api/v1/{call}"), &[], &pairs).await);
            assert_eq!(answer.status, 412, "{call} {spoilt}: {}", answer.text);
        }
    }
    client.ok("renameserver.php", &[("sid", "1"), ("name", "x")]).await;
    let renamed = cloud.state().await;
    assert_eq!(before.lines().count(), renamed.lines().count(), "nothing was begun");
}

#[tokio::test]
async fn an_image_that_needs_more_than_is_built_is_103() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let store = cloud.app().store();
    let known = images::find(store, "tiny").await.unwrap().unwrap();
    let region = regions::find(store, "ist2").await.unwrap().unwrap().id;
    let large =
        Image { slug: "large".into(), name: "Large".into(), min_memory_mib: Some(2048), ..known.clone() };
    images::ensure(store, &large, &[region], Some(99), 99).await.unwrap();
    images::set_files(store, "large", known.files.as_ref()).await.unwrap();
    let build = [("cpu", "1"), ("ram", "512"), ("storage", "10"), ("os", "99")];
    let answer = client.post("cloudpro/build.php", &build).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (412, &103.into()), "{}", answer.text);
    assert!(answer.text.contains("2048"), "{}", answer.text);
}

#[tokio::test]
async fn a_cpu_or_template_that_does_not_exist_is_105() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 99, 99_999, 9999).await;
    let client = client(&cloud, &alice).await;
    let before = cloud.state().await;
    for cpu in ["0", "17", "-1", "abc", "1.5", "+1", "99999999999999999999"] {
        let answer = client
            .post("cloudpro/build.php", &[("cpu", cpu), ("ram", "512"), ("storage", "10"), ("os", "7")])
            .await;
        assert_error(&answer, 412, 105, "invalid CPU value");
    }
    // The second one is known, but its files are not here.
    for os in ["75", "2", "0", "-7", "abc", "7.0", "99999999999999999999"] {
        let answer = client
            .post("cloudpro/build.php", &[("cpu", "1"), ("ram", "512"), ("storage", "10"), ("os", os)])
            .await;
        assert_error(&answer, 412, 105, "no template available by that id");
    }
    assert_eq!(before, cloud.state().await);
}

#[tokio::test]
async fn a_task_that_runs_is_105_for_every_other_task() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let server = client.built().await;
    let sid = server.to_string();
    let sid = sid.as_str();
    let tasks = [
        ("powerop.php", vec![("sid", sid), ("action", "reset")]),
        ("powerop.php", vec![("sid", sid), ("action", "poweroff")]),
        ("poweropp.php", vec![("sid", sid), ("action", "poweron")]),
        ("rdns.php", vec![("sid", sid), ("hostname", "a.example.com")]),
        ("cloudpro/delete.php", vec![("sid", sid)]),
    ];
    for (holder, pairs) in &tasks {
        client.ok(holder, pairs).await;
        for (call, pairs) in &tasks {
            assert_error(&client.post(call, pairs).await, 412, 105, "task already running");
        }
        cloud.run_until_idle().await;
    }
    assert!(client.servers().await.is_empty());
    // While it is built, too.
    let built = client.ok("cloudpro/build.php", &SMALL).await;
    let sid = built["serverid"].as_str().unwrap();
    assert_error(
        &client.post("powerop.php", &[("sid", sid), ("action", "reset")]).await,
        412,
        105,
        "task already running",
    );
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn what_a_pool_has_not_is_107_as_a_text() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let build = async |cpu: &str, ram: &str, storage: &str| {
        let pairs = [("cpu", cpu), ("ram", ram), ("storage", storage), ("os", "7")];
        client.post("cloudpro/build.php", &pairs).await
    };
    assert_error(&build("1", "512", "10").await, 412, "107", "Not Enough CPU");
    give_pool(&cloud, &alice, 2, 1024, 20).await;
    let before = cloud.state().await;
    assert_error(&build("3", "512", "10").await, 412, "107", "Not Enough CPU");
    assert_error(&build("2", "1028", "10").await, 412, "107", "Not Enough RAM");
    assert_error(&build("2", "1024", "21").await, 412, "107", "Not Enough Storage");
    assert_error(&build("16", "32768", "1000").await, 412, "107", "Not Enough CPU");
    assert_eq!(before, cloud.state().await);
    assert_eq!(build("2", "1024", "20").await.status, 200);
    assert_error(&build("1", "512", "10").await, 412, "107", "Not Enough CPU");
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn a_node_without_room_is_107_and_takes_nothing_from_the_pool() {
    let mut setup = bulut_testkit::cloud::Setup::default();
    setup.node.memory_mib = 1024;
    setup.configure = |config| config.memory_overcommit_percent = 100;
    let cloud = TestCloud::with(setup).await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    client.built().await;
    let before = cloud.state().await;
    let answer =
        client.post("cloudpro/build.php", &[("cpu", "1"), ("ram", "1024"), ("storage", "10"), ("os", "7")]);
    let answer = answer.await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (412, &"107".into()), "{}", answer.text);
    assert_eq!(before, cloud.state().await);
    assert_eq!(client.get("cloudpro/resources.php", &[]).await.json()["data"]["used"]["ram_used"], "512");
}

#[tokio::test]
async fn a_server_that_is_not_the_callers_is_109_like_one_that_never_was() {
    let cloud = TestCloud::new().await;
    let (alice, bob) = (cloud.customer("alice").await, cloud.customer("bob").await);
    give_pool(&cloud, &bob, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let bobs = crate::client::client(&cloud, &bob).await.built().await.to_string();
    let gone = alice.running_server("gone").await;
    alice.send("DELETE", &format!("/v1/server/{gone}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    let gone = gone.to_string();
    let before = cloud.state().await;
    for sid in [bobs.as_str(), gone.as_str(), "0", "-1", "4711", "abc", "1.5", "1 2", "99999999999999999999"]
    {
        for (call, more) in [
            ("powerop.php", vec![("action", "reset")]),
            ("renameserver.php", vec![("name", "mine")]),
            ("runmode.php", vec![("mode", "safe")]),
            ("rdns.php", vec![("hostname", "a.example.com")]),
            ("console.php", vec![]),
            ("cloudpro/delete.php", vec![]),
        ] {
            let mut pairs = vec![("sid", sid)];
            pairs.extend(more);
            assert_error(&client.post(call, &pairs).await, 412, 109, "invalid server ID");
        }
    }
    assert_eq!(before, cloud.state().await);
    assert!(!client.get("listtasks.php", &[]).await.text.contains(&format!("\"serverid\": \"{bobs}\"")));
}

#[tokio::test]
async fn a_name_that_is_none_is_109() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let sid = alice.running_server("web1").await.to_string();
    let before = cloud.state().await;
    let long = format!("{}.example.com", "a".repeat(64));
    for hostname in [
        "-a.example.com",
        "a_b.example.com",
        "a b.com",
        "1.2.3.4",
        "a..b.com",
        "é.example.com",
        "http://a.com",
        &long,
    ] {
        let answer = client.post("rdns.php", &[("sid", &sid), ("hostname", hostname)]).await;
        assert_error(&answer, 412, 109, "invalid domain name");
    }
    assert_eq!(before, cloud.state().await);
}

#[tokio::test]
async fn a_suspended_account_looks_and_changes_nothing() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let sid = client.built().await.to_string();
    accounts::set_standing(cloud.app(), "alice", Standing::Suspended).await.unwrap();
    let before = cloud.state().await;
    for call in ["listservers.php", "listtemplates.php", "listtasks.php", "cloudpro/resources.php"] {
        assert_eq!(client.get(call, &[]).await.status, 200, "{call}");
    }
    let sid = sid.as_str();
    for (call, pairs) in [
        ("powerop.php", vec![("sid", sid), ("action", "reset")]),
        ("renameserver.php", vec![("sid", sid), ("name", "x")]),
        ("runmode.php", vec![("sid", sid), ("mode", "normal")]),
        ("rdns.php", vec![("sid", sid), ("hostname", "a.example.com")]),
        ("console.php", vec![("sid", sid)]),
        ("cloudpro/delete.php", vec![("sid", sid)]),
        ("cloudpro/build.php", SMALL.to_vec()),
    ] {
        assert_error(&client.post(call, &pairs).await, 412, "107", "Invalid Server Permission");
    }
    assert_eq!(before, cloud.state().await);
}

#[tokio::test]
async fn what_is_no_call_is_400_and_every_fault_is_json() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/listservers",
        "/api/v1/listservers.phps",
        "/api/v2/x.php",
        "/api/v1/cloudpro",
        "/api/v1/%6cistservers.php/x",
        "/api/v1/../../etc/passwd",
        "/api/v1/powerop.php/1",
    ] {
        for method in ["GET", "POST", "DELETE", "BREW"] {
            let answer = checked(cloud.send(method, path, &[], &client.said(&[])).await);
            assert_error(&answer, 400, 400, "invalid API URL");
        }
    }
    let large = "x".repeat(1024 * 1024 + 1);
    for method in ["GET", "POST"] {
        let answer = checked(cloud.send(method, "/api/v1/listservers.php", &[], &large).await);
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (413, &413.into()), "{method}");
    }
    cloud.app().store().close().await.unwrap();
    let broken = client.get("listservers.php", &[]).await;
    assert_eq!((broken.status.as_u16(), &broken.json()["error"]), (500, &500.into()), "{}", broken.text);
    assert!(!broken.text.to_lowercase().contains("pool"), "{}", broken.text);
}

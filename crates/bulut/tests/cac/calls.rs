//! Each call of the document: what it answers, and what it does.

use crate::client::{SMALL, assert_error, client, give_pool};
use bulut_compute::simulated::World;
use bulut_compute::{Observed, Power};
use bulut_model::ServerId;
use bulut_testkit::cloud::Setup;
use bulut_testkit::http::Answer;
use bulut_testkit::{Customer, TestCloud};
use serde_json::{Value, json};

/// The names of an object's members, in their order.
fn members(text: &str) -> Vec<String> {
    let value: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
    let mut names: Vec<String> = value.keys().cloned().collect();
    names.sort_by_key(|name| text.find(&format!("\"{name}\": ")).unwrap());
    names
}

/// How often the guest booted, and since when its machine runs; none while it does not.
fn boots(world: &World, server: i64) -> (u32, Option<String>) {
    let machine = world.machine(ServerId(server)).unwrap();
    let epoch = match machine.observed {
        Observed::Present(present) => (present.power == Power::Running).then_some(present.epoch),
        Observed::Absent => None,
    };
    (machine.boots, epoch)
}

#[tokio::test]
async fn a_new_account_has_empty_lists_and_nothing_used() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let servers = client.get("listservers.php", &[]).await;
    assert_eq!(members(&servers.text), ["status", "time", "api", "id", "action", "data"]);
    assert_eq!(servers.json()["data"], json!([]));
    let tasks = client.get("listtasks.php", &[]).await;
    assert_eq!(members(&tasks.text), ["status", "time", "api", "cid", "action", "data"]);
    assert_eq!((&tasks.json()["data"], &tasks.json()["action"]), (&json!([]), &json!("listtasks")));
    let pool = client.get("cloudpro/resources.php", &[]).await.json();
    let zero = json!({"cpu_total": "0", "ram_total": "0", "storage_total": "0"});
    assert_eq!(pool["data"]["total"], json!([zero]));
    assert_eq!(pool["data"]["used"], json!({"cpu_used": "0", "ram_used": "0", "storage_used": "0"}));
    assert_eq!(pool["time"], cloud.app().clock().now().unix_seconds());
}

#[tokio::test]
async fn templates_are_the_images_that_can_be_built_from() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let templates = client.get("listtemplates.php", &[]).await;
    assert_eq!(members(&templates.text)[..3], ["status", "time", "api"]);
    let data = templates.json()["data"].as_array().unwrap().clone();
    let tiny = data.iter().find(|template| template["id"] == "7").unwrap();
    assert_eq!(*tiny, json!({"id": "7", "ce_id": "7", "detail": "Tiny Linux 1", "name": "Tiny Linux 1"}));
    assert!(data.iter().any(|template| template["detail"] == "Debian 12 x64"));
    assert!(!data.iter().any(|template| template["detail"] == "Debian 13 x64"), "its files are not here");
}

#[tokio::test]
async fn a_server_is_built_used_and_deleted() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let built =
        client.post("cloudpro/build.php", &[("cpu", "3"), ("ram", "3072"), ("storage", "90"), ("os", "7")]);
    let built = built.await;
    assert_eq!(
        members(&built.text),
        ["status", "time", "api", "serverid", "servername", "action", "taskid", "result"]
    );
    let built = built.json();
    let sid: i64 = built["serverid"].as_str().unwrap().parse().unwrap();
    assert_eq!((&built["action"], &built["result"]), (&json!("build"), &json!("successful")));

    let listed = client.server(sid).await;
    assert_eq!(listed["status"], "Installing");
    for (name, value) in
        [("cpu", "3"), ("ram", "3072"), ("storage", "90"), ("mode", "Safe"), ("servertype", "Custom")]
    {
        assert_eq!(listed[name], value, "{name}");
    }
    assert_eq!((&listed["label"], &listed["lable"]), (&Value::Null, &Value::Null));
    assert_eq!(listed["servername"], built["servername"]);
    assert_eq!((&listed["id"], &listed["template"]), (&listed["sid"], &json!("Tiny Linux 1")));
    assert_eq!(listed["sdate"], "01/01/2026");
    let task = client.tasks().await.remove(0);
    assert_eq!((&task["status"], &task["action"]), (&json!("pending"), &json!("build")));
    assert_eq!(task["idf"], built["taskid"].to_string());
    assert!(task["finishtime"].as_str().unwrap().bytes().all(|byte| byte.is_ascii_digit()));
    let used = client.get("cloudpro/resources.php", &[]).await.json();
    let total = json!([{"cpu_total": "8", "ram_total": "8192", "storage_total": "120"}]);
    let in_use = json!({"cpu_used": "3", "ram_used": "3072", "storage_used": "90"});
    assert_eq!(used["data"], json!({"total": total, "used": in_use}));

    cloud.run_until_idle().await;
    let listed = client.server(sid).await;
    assert_eq!(listed["status"], "Powered On");
    assert_eq!(listed["rootpass"].as_str().unwrap().len(), 20);
    let spec = cloud.world().machine(ServerId(sid)).unwrap().spec.unwrap();
    assert_eq!((spec.cpu, spec.memory_mib, spec.disk_gib), (3, 3072, 90));
    assert_eq!(listed["ip"], spec.nic.ipv4.unwrap().address.to_string());
    assert_eq!(listed["hostname"], spec.seed.hostname);
    assert_eq!(client.tasks().await[0]["status"], "completed");

    let deleted = client.ok("cloudpro/delete.php", &[("sid", &sid.to_string())]).await;
    assert_eq!((&deleted["action"], &deleted["result"]), (&json!("delete"), &json!("successful")));
    assert!(deleted.get("data").is_none());
    cloud.run_until_idle().await;
    assert!(client.servers().await.is_empty());
    assert!(cloud.world().is_empty());
    let tasks = client.tasks().await;
    assert_eq!(tasks.len(), 2);
    assert_eq!((&tasks[1]["action"], &tasks[1]["status"]), (&json!("delete"), &json!("completed")));
    assert_eq!((&tasks[1]["serverid"], &tasks[1]["ip"]), (&json!(sid.to_string()), &json!("")));
    let pool = client.get("cloudpro/resources.php", &[]).await.json();
    assert_eq!(pool["data"]["used"], json!({"cpu_used": "0", "ram_used": "0", "storage_used": "0"}));
}

#[tokio::test]
async fn power_operations_power_and_reset_is_the_reset_button() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let server = alice.running_server("web1").await;
    let sid = server.to_string();
    let (booted, epoch) = boots(cloud.world(), server);
    let reset = client.post("powerop.php", &[("sid", &sid), ("action", "reset")]).await;
    assert_eq!(members(&reset.text), ["status", "time", "api", "serverid", "action", "taskid", "result"]);
    assert_eq!((&reset.json()["serverid"], &reset.json()["action"]), (&json!(sid), &json!("reset")));
    cloud.run_until_idle().await;
    assert_eq!(boots(cloud.world(), server), (booted + 1, epoch), "within the same life of its machine");
    let event = alice.event(reset.json()["taskid"].as_i64().unwrap()).await;
    assert_eq!(
        (&event["event"], &event["status"]),
        (&json!("VM.REBOOT"), &json!(1)),
        "one operation, two views"
    );

    for (action, status, runs) in [
        ("poweroff", "Powered Off", false),
        ("poweron", "Powered On", true),
        ("POWEROFF", "Powered Off", false),
    ] {
        client.ok("powerop.php", &[("sid", &sid), ("action", action)]).await;
        cloud.run_until_idle().await;
        assert_eq!(client.server(server).await["status"], status);
        assert_eq!(boots(cloud.world(), server).1.is_some(), runs);
    }
    let words: Vec<Value> = client.tasks().await.iter().map(|task| task["action"].clone()).collect();
    assert_eq!(words, ["build", "reset", "poweroff", "poweron", "poweroff"]);
}

#[tokio::test]
async fn labels_and_run_modes_change_at_once_also_while_a_build_is_pending() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let built = client.ok("cloudpro/build.php", &SMALL).await;
    let sid = built["serverid"].as_str().unwrap();
    let renamed = client.post("renameserver.php", &[("sid", sid), ("name", " my <server> & \u{fc} ")]).await;
    assert_eq!(members(&renamed.text), ["status", "time", "api", "serverid", "action", "result"]);
    client.ok("runmode.php", &[("sid", sid), ("mode", "normal")]).await;
    let listed = client.server(sid.parse().unwrap()).await;
    assert_eq!((&listed["label"], &listed["lable"]), (&json!("my <server> & \u{fc}"), &listed["label"]));
    assert_eq!((&listed["mode"], &listed["status"]), (&json!("Normal"), &json!("Installing")));
    assert_eq!(alice.servers().await[0]["name"], "my <server> & \u{fc}", "Cloude calls it the same");
    assert_eq!(client.tasks().await[0]["label"], listed["label"]);
    client.ok("runmode.php", &[("sid", sid), ("mode", "Safe")]).await;
    assert_eq!(client.server(sid.parse().unwrap()).await["mode"], "Safe");
    cloud.run_until_idle().await;
    assert_eq!(client.server(sid.parse().unwrap()).await["status"], "Powered On");
}

#[tokio::test]
async fn another_name_is_the_guests_and_its_addresses() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let server = alice.running_server("web1").await;
    let answer =
        client.ok("rdns.php", &[("sid", &server.to_string()), ("hostname", "localhost.domain.com")]).await;
    assert_eq!(answer["result"], "successful");
    cloud.run_until_idle().await;
    let listed = client.server(server).await;
    assert_eq!((&listed["hostname"], &listed["rdns"]), (&json!("localhost.domain.com"), &listed["hostname"]));
    assert_ne!(listed["rdnsdefault"], listed["rdns"]);
    let spec = cloud.world().machine(ServerId(server)).unwrap().spec.unwrap();
    assert_eq!(spec.seed.hostname, "localhost.domain.com");
    let task = client.tasks().await.pop().unwrap();
    assert_eq!(task["idf"], answer["taskid"].to_string());
    assert_eq!(task["rdns"], "localhost.domain.com");
}

#[tokio::test]
async fn a_console_is_a_link_that_opens_where_the_client_came_to() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let server = alice.running_server("web1").await;
    let path = format!("/api/v1/console.php?{}", client.said(&[("sid", &server.to_string())]));
    let answer = cloud.send("GET", &path, &[("host", "panel.example.com:8080")], "").await;
    assert!(answer.text.contains(r#""console": "http:\/\/panel.example.com:8080\/"#), "{}", answer.text);
    assert_eq!(answer.json()["serverid"], server.to_string());
    let url = answer.json()["console"].as_str().unwrap().to_owned();
    let opened = cloud.send("GET", url.strip_prefix("http://panel.example.com:8080").unwrap(), &[], "").await;
    assert!(opened.status.is_success() || opened.status.is_redirection(), "{}", opened.text);
}

#[tokio::test]
async fn both_dialects_show_the_same_servers() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let ordered = alice.running_server("web1").await;
    let built = client.built().await;
    let of_cloude =
        |servers: Vec<Value>| -> Vec<Value> { servers.iter().map(|it| it["id"].clone()).collect() };
    assert_eq!(of_cloude(alice.servers().await), [ordered, built]);
    let sids: Vec<Value> = client.servers().await.iter().map(|server| server["sid"].clone()).collect();
    assert_eq!(sids, [ordered.to_string(), built.to_string()], "a new one comes last");
    let first = client.server(ordered).await;
    assert_eq!(
        (&first["label"], &first["servertype"], &first["mode"]),
        (&json!("web1"), &json!("eos1"), &json!("Normal"))
    );
    let second = &alice.servers().await[1];
    assert_eq!((&second["package"], &second["cpu"]), (&json!("custom"), &json!(1)));
    assert_eq!((&second["memory"], &second["disk"]), (&json!(0.5), &json!(10)));
    assert_eq!(client.get("cloudpro/resources.php", &[]).await.json()["data"]["used"]["cpu_used"], "1");

    // Each dialect's power works on the other's server; sizes of the pool are no packages.
    alice.send("POST", &format!("/v1/server/{built}/stop"), "").await.data();
    client.ok("powerop.php", &[("sid", &ordered.to_string()), ("action", "poweroff")]).await;
    cloud.run_until_idle().await;
    assert!(alice.servers().await.iter().all(|server| server["state"] == "Stopped"));
    let refused = alice.send("POST", &format!("/v1/server/{built}/upgrade_package"), "package=eos2").await;
    assert!(refused.refusal(400).contains("resource pool"), "{}", refused.text);
    let packages = alice.send("GET", "/v1/package/list", "").await.data();
    assert!(!packages.to_string().contains("custom"), "nobody can order it");
    let order = "name=x&region=ist2&package=custom&image=tiny";
    alice.send("POST", "/v1/server/create", order).await.refusal(400);

    // A server of a package does not end here; one of the pool ends there, and gives back.
    let kept = client.post("cloudpro/delete.php", &[("sid", &ordered.to_string())]).await;
    assert_error(&kept, 412, "107", "Invalid Server Permission");
    alice.send("DELETE", &format!("/v1/server/{built}/destroy"), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!(client.get("cloudpro/resources.php", &[]).await.json()["data"]["used"]["cpu_used"], "0");
    assert_eq!(client.servers().await.len(), 1);
}

#[tokio::test]
async fn what_was_measured_is_shown() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let server = alice.running_server("web1").await;
    let shown = client.server(server).await;
    assert_eq!((&shown["cpuusage"], &shown["ramusage"]), (&json!("0"), &json!("0")), "nobody has looked yet");
    let look = async || bulut::reconcile::run_modes::look(cloud.app()).await.unwrap();
    look().await;
    cloud.app().clock().advance(std::time::Duration::from_secs(60));
    let used = bulut_compute::Usage { cpu_us: 15_000_000, ..Default::default() };
    cloud.world().add_usage(ServerId(server), &used);
    look().await;
    let shown = client.server(server).await;
    let percent: f64 = shown["cpuusage"].as_str().unwrap().parse().unwrap();
    assert!((25.0..26.0).contains(&percent), "a quarter of a minute of its one processor: {percent}");
    assert_eq!(shown["ramusage"], shown["ram"], "a simulated guest takes all of it");
    assert!(shown["hdusage"].as_str().unwrap().parse::<f64>().unwrap() > 0.0);
    client.ok("powerop.php", &[("sid", &server.to_string()), ("action", "poweroff")]).await;
    cloud.run_until_idle().await;
    let off = client.server(server).await;
    assert_eq!((&off["cpuusage"], &off["ramusage"]), (&json!("0"), &json!("0")));
    assert_eq!(off["hdusage"], shown["hdusage"]);
}

#[tokio::test]
async fn an_account_may_have_its_passwords_left_out() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let client = client(&cloud, &alice).await;
    let server = alice.running_server("web1").await;
    let answer =
        alice.send("POST", &format!("/v1/server/{server}/change_password"), "password=tomato-soup").await;
    answer.data();
    cloud.run_until_idle().await;
    assert_eq!(client.server(server).await["rootpass"], "tomato-soup");
    bulut::domain::accounts::set_hides_secrets(cloud.app(), "alice", true).await.unwrap();
    let hidden = client.server(server).await;
    assert_eq!(
        (&hidden["rootpass"], &hidden["vncport"], &hidden["vncpass"]),
        (&json!(""), &json!(""), &json!(""))
    );
    bulut::domain::accounts::set_hides_secrets(cloud.app(), "alice", false).await.unwrap();
    assert_eq!(client.server(server).await["rootpass"], "tomato-soup");
}

#[tokio::test]
async fn totals_are_plain_where_the_operator_says_so() {
    let cloud =
        TestCloud::with(Setup { configure: |config| config.cac_plain_totals = true, ..Setup::default() })
            .await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 1, 2, 3).await;
    let pool = client(&cloud, &alice).await.get("cloudpro/resources.php", &[]).await.json();
    assert_eq!(pool["data"]["total"], json!({"cpu_total": "1", "ram_total": "2", "storage_total": "3"}));
}

#[tokio::test]
async fn a_repeated_request_is_answered_again_and_done_once() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let client = client(&cloud, &alice).await;
    let build = async |ram: &str| -> Answer {
        let said = client.said(&[("cpu", "1"), ("ram", ram), ("storage", "10"), ("os", "7")]);
        let headers = [("idempotency-key", "build-1"), ("content-type", "application/x-www-form-urlencoded")];
        cloud.send("POST", "/api/v1/cloudpro/build.php", &headers, &said).await
    };
    let first = build("512").await;
    assert_eq!(first.text, build("512").await.text);
    assert_eq!(client.servers().await.len(), 1);
    assert_eq!(build("1024").await.status, 412, "the same name for something else");
    cloud.run_until_idle().await;
    let sid = first.json()["serverid"].as_str().unwrap().to_owned();
    let delete = async || {
        let headers =
            [("idempotency-key", "delete-1"), ("content-type", "application/x-www-form-urlencoded")];
        cloud.send("POST", "/api/v1/cloudpro/delete.php", &headers, &client.said(&[("sid", &sid)])).await
    };
    let first = delete().await;
    cloud.run_until_idle().await;
    assert_eq!(first.text, delete().await.text, "also when the server is gone by then");
}

#[tokio::test]
async fn a_build_takes_the_accounts_ssh_keys() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    give_pool(&cloud, &alice, 8, 8192, 120).await;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice@home";
    add_key(&alice, key).await;
    let server = client(&cloud, &alice).await.built().await;
    assert_eq!(cloud.world().machine(ServerId(server)).unwrap().spec.unwrap().seed.ssh_keys, [key]);
}

async fn add_key(customer: &Customer<'_>, key: &str) {
    let fields = bulut_testkit::http::form(&[("name", "laptop"), ("public_key", key)]);
    customer.send("POST", "/v1/sshkey/create", &fields).await.data();
}

//! What a customer hands to the first boot, and what an application brings, really happens in the guest, together with
//! what the cloud itself sets up.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulut_testkit::namespace;
use bulut_testkit::program::{NOBODY, Program, eventually};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Duration;

mod mirror;
mod outside;

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const BOOT: Duration = Duration::from_secs(120);
const DEBIAN: Duration = Duration::from_secs(600);

const SCRIPT: &str = "#!/bin/sh\necho \"script as $(id -un)\" >> /root/said\n";

fn gzip(data: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(data.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// A cloud-config in JSON, which every image reads.
fn config() -> String {
    let config = json!({
        "write_files": [{ "path": "/opt/own/file", "permissions": "0640", "content": "written\n" }],
        "runcmd": ["echo runcmd >> /root/said", ["sh", "-c", "echo \"$1\" >> /root/said", "-", "it's a list"]],
        "bootcmd": ["echo \"bootcmd $INSTANCE_ID\" > /root/bootcmd"],
    });
    format!("#cloud-config\n{config}\n")
}

/// A script with a letter that is not ASCII, in Base64, and a cloud-config that does not say how it is merged.
fn multipart(config: &str) -> String {
    let script = STANDARD.encode(format!("{SCRIPT}echo çay >> /root/said\n"));
    format!(
        "Content-Type: multipart/mixed; boundary=\"=-=\"\nMIME-Version: 1.0\n\n\
         --=-=\nContent-Type: text/x-shellscript; charset=\"utf-8\"\nContent-Transfer-Encoding: base64\n\n{script}\n\
         --=-=\nContent-Type: text/cloud-config\n\n{config}\n--=-=--\n"
    )
}

/// What is asked of each guest in one session.
const FACTS: &str = "echo \"host=$(hostname)\"; echo \"keys=$(cat /root/.ssh/authorized_keys)\"; \
    echo \"said=$(LC_ALL=C sort /root/said | tr '\\n' ',')\"; echo \"boot=$(cat /root/bootcmd)\"; \
    echo \"file=$(stat -c %a /opt/own/file):$(cat /opt/own/file)\"";

fn fact(said: &str, name: &str) -> String {
    let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the guest does not say its {name}:\n{said}")).trim().to_owned()
}

/// The host name and the key are ours, whatever the customer's data is.
async fn assert_ours(cloud: &Program, id: i64, said: &str) {
    let server = cloud.server(id).await;
    assert_eq!(fact(said, "host"), server["hostname"].as_str().unwrap());
    assert!(fact(said, "keys").starts_with("ssh-ed25519 "), "{said}");
}

async fn order(cloud: &Program, image: &str, form: &[(&str, &str)], data: &[u8]) -> (i64, Value) {
    let data = STANDARD.encode(data);
    let mut all = vec![("user_data", data.as_str())];
    all.extend(form);
    cloud.order(image, &all).await
}

#[tokio::test]
async fn a_tiny_guest_runs_what_it_is_handed_in_whatever_form() {
    let user = nix::unistd::geteuid().is_root().then_some(NOBODY);
    let cloud = Program::start(BINARY, "tiny", user, &[("BULUT_NETWORKING", "user")]).await;
    let key = cloud.add_key().await;
    let asked = [
        (SCRIPT.as_bytes().to_vec(), "script as root,", ""),
        (config().into_bytes(), "it's a list,runcmd,", "640:written"),
        (gzip(SCRIPT), "script as root,", ""),
        (gzip(&multipart(&config())), "it's a list,runcmd,script as root,çay,", "640:written"),
    ];
    let mut servers = Vec::new();
    for (data, said, file) in &asked {
        let (id, ordered) = order(&cloud, "tiny", &[("ssh_keys", &key)], data).await;
        servers.push((id, ordered, *said, *file));
    }
    for (id, ordered, said, file) in servers {
        cloud.succeeded(&ordered).await;
        assert_eq!(cloud.says(id, "cloud-init status --wait 2>/dev/null", BOOT).await, "status: done");
        let facts = cloud.says(id, FACTS, BOOT).await;
        assert_ours(&cloud, id, &facts).await;
        assert_eq!(fact(&facts, "said"), said, "server {id}: {facts}");
        if !file.is_empty() {
            assert_eq!(fact(&facts, "file"), file);
            assert!(fact(&facts, "boot").starts_with("bootcmd i-"), "{facts}");
        }
        cloud.destroy(id).await;
    }
}

/// The customer's part: packages from the test's own mirror, beside those of the application.
fn debian_config(mirror: &str) -> String {
    let mut config: Value = serde_json::from_str(config().strip_prefix("#cloud-config\n").unwrap()).unwrap();
    config["apt"] =
        json!({ "preserve_sources_list": false, "sources_list": format!("deb [trusted=yes] {mirror} ./\n") });
    config["packages"] = json!(["hello"]);
    config["hostname"] = json!("not-this-one");
    format!("#cloud-config\n{config}\n")
}

#[test]
fn a_debian_guest_installs_an_application_beside_what_its_customer_asks_for() {
    if !namespace::possible() {
        return skipped_without_root();
    }
    // apt goes to the real mirror here, and nobody in the namespace can.
    let packages = mirror::fetch(&["nginx", "hello"]);
    namespace::within(|| async {
        let routed = [("BULUT_NETWORKING", "routed")];
        let cloud = Program::start(BINARY, "debian-12-x64", None, &routed).await;
        let outside = outside::Outside::open(packages).await;
        let index = outside.fetches(&format!("{}Packages", outside.mirror)).await.unwrap();
        assert!(index.contains("Package: nginx\n"), "{index}");

        let key = cloud.add_key().await;
        let data = gzip(&multipart(&debian_config(&outside.mirror)));
        let form = [("ssh_keys", key.as_str()), ("package", "eos3")];
        let (id, ordered) = order(&cloud, "nginx", &form, &data).await;
        cloud.succeeded(&ordered).await;
        let status = cloud.says(id, "cloud-init status --wait --long", DEBIAN).await;
        let log = "tail -n 60 /var/log/cloud-init-output.log";
        let done = status.contains("status: done");
        assert!(done, "{status}\n{}", if done { String::new() } else { cloud.says(id, log, DEBIAN).await });

        let facts = cloud.says(id, FACTS, DEBIAN).await;
        assert_ours(&cloud, id, &facts).await;
        assert_eq!(fact(&facts, "said"), "it's a list,runcmd,script as root,çay,");
        assert_eq!(fact(&facts, "file"), "640:written");
        assert!(fact(&facts, "boot").starts_with("bootcmd i-"), "{facts}");
        // The lists of the application and of the customer are both there, and ours is valid with them.
        assert_eq!(cloud.says(id, "hello", DEBIAN).await, "Hello, world!");
        assert!(cloud.says(id, "cat /etc/motd", DEBIAN).await.contains("nginx serves /var/www/html"));
        let schema = cloud.says(id, "cloud-init schema --system 2>&1", DEBIAN).await;
        assert!(schema.contains("Valid cloud-config"), "{schema}");

        let address = cloud.server(id).await["networks"]["v4"]["ip"].as_str().unwrap().to_owned();
        let url = format!("http://{address}/");
        let answers = || async { outside.fetches(&url).await };
        let page = eventually("port 80 answers outside of the host", Duration::from_secs(60), answers).await;
        assert!(page.contains("Welcome to nginx!"), "{page}");
        cloud.destroy(id).await;
    });
}

#[expect(clippy::disallowed_macros, reason = "a test that does not run has to say so")]
fn skipped_without_root() {
    eprintln!("not run: routed taps need root");
}

//! A server's whole life on a real QEMU, through the API, asserted in the guest and on the host.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut_testkit::namespace;
use bulut_testkit::program::{NOBODY, Program, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const BOOT: Duration = Duration::from_secs(120);
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// What the guest itself says, asked in one session: each costs seconds where every instruction is translated.
const FACTS: &str = "echo \"boot=$(cat /proc/sys/kernel/random/boot_id)\"; echo \"hostname=$(hostname)\"; \
    echo \"v4=$(ip -4 addr show dev eth0 | awk '/inet /{print $2}')\"; \
    echo \"v6=$(ip -6 addr show dev eth0 | awk '/inet6/{print $2}' | tr '\\n' ' ')\"; \
    echo \"route=$(ip route | grep ^default)\"; echo \"sectors=$(cat /sys/block/vda/size)\"; \
    echo \"root_kib=$(df -Pk / | awk 'NR==2 {print $2}')\"; echo \"nproc=$(nproc)\"; \
    echo \"keys=$(cat /root/.ssh/authorized_keys)\"";

/// Asks the guest about everything that the API says of it; answers its boot id.
async fn assert_guest_is_as_shown(cloud: &Program, id: i64, boot: Duration) -> String {
    let server = cloud.server(id).await;
    let said = cloud.says(id, FACTS, boot).await;
    let fact = |name: &str| -> String {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("the guest does not say its {name}:\n{said}")).trim().to_owned()
    };
    assert_eq!(fact("hostname"), server["hostname"].as_str().unwrap());
    let v4 = &server["networks"]["v4"];
    assert_eq!(v4["netmask"], "255.255.255.0");
    assert_eq!(fact("v4"), format!("{}/24", v4["ip"].as_str().unwrap()));
    assert!(fact("route").starts_with(&format!("default via {}", v4["gateway"].as_str().unwrap())), "{said}");
    assert!(fact("v6").contains(server["networks"]["v6"]["ip"].as_str().unwrap()), "{said}");
    let disk_gib = server["disk"].as_u64().unwrap();
    assert_eq!(fact("sectors").parse::<u64>().unwrap() * 512, disk_gib << 30);
    let root_kib: u64 = fact("root_kib").parse().unwrap();
    assert!(root_kib > (disk_gib << 20) * 9 / 10, "the root file system has grown: {said}");
    assert_eq!(fact("nproc"), server["cpu"].to_string());
    assert!(fact("keys").starts_with("ssh-ed25519 "), "{said}");
    fact("boot")
}

/// Lines of the Cloude document as they stand there; a fresh cloud's first server has the id 1 that they name.
const CREATE: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/create" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "name=ubuntu-16-04-x64&region=ist2&package=eos2&image=ubuntu-16-04-x64&hostname=&ssh_keys=&user_data=""#;
const LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/server/list" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data """#;
const SHOW: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/server/1515" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data """#;
const START: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/start" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "id=1""#;
const STOP: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/stop" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data "id=1""#;
const REBOOT: &str = r#"curl --location --request POST "https://api.cloud.ro/v1/server/reboot" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data "id=1""#;
const EVENTS: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/event/list" \
--header "Authorization: Bearer {{authToken}}" \
--data """#;
const DESTROY: &str = r#"curl --location --request DELETE "https://api.cloude.ro/v1/server/{{subscription_id}}/destroy" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data """#;

/// Runs a line whose answer is `true`, and waits until the last event has succeeded.
async fn change(cloud: &Program, line: &str, event: &str) {
    assert_eq!(cloud.curl(line).await, json!(true));
    let events = cloud.curl(EVENTS).await;
    let last = events.as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["event"], event);
    cloud.succeeded(&json!({ "event_id": last["id"] })).await;
}

/// Order, look, reboot, stop, start, power off inside, kill outside, destroy.
async fn live(cloud: &Program) {
    let fingerprint = cloud.add_key().await;
    let line = CREATE
        .replace("image=ubuntu-16-04-x64", "image=tiny")
        .replace("hostname=", "hostname=web1.example.com")
        .replace("ssh_keys=", &format!("ssh_keys={fingerprint}"));
    let ordered = cloud.curl(&line).await;
    let id = ordered["id"].as_i64().unwrap();
    assert_eq!(id, 1);
    cloud.succeeded(&ordered).await;
    assert_eq!(cloud.curl(LIST).await, cloud.curl(&SHOW.replace("1515", "1")).await);
    let first_boot = assert_guest_is_as_shown(cloud, id, BOOT).await;
    assert_eq!(cloud.machines().len(), 1);

    change(cloud, REBOOT, "VM.REBOOT").await;
    let second_boot = eventually("another boot id", BOOT, || async {
        let boot = cloud.says(id, BOOT_ID, BOOT).await;
        (boot != first_boot).then_some(boot)
    })
    .await;

    change(cloud, STOP, "VM.STOP").await;
    assert_eq!(cloud.curl(LIST).await[0]["state"], "Stopped");
    assert!(cloud.machines().is_empty(), "a stopped server has no process");
    change(cloud, START, "VM.START").await;
    let third_boot = assert_guest_is_as_shown(cloud, id, BOOT).await;
    assert!(third_boot != second_boot);

    cloud.ssh(id, "poweroff").await;
    cloud.state_is(id, "Stopped").await;
    assert!(cloud.machines().is_empty());

    change(cloud, START, "VM.START").await;
    let pid = cloud.machines()[0];
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    cloud.state_is(id, "Stopped").await;
    assert!(cloud.log().contains("a machine changed by itself"), "the log says why");

    // Starting again after a crash, and the end of it while it runs. The other form of the calls answers the event.
    cloud.succeeded(&cloud.data("POST", &format!("/v1/server/{id}/start"), &[]).await).await;
    change(cloud, &DESTROY.replace("{{subscription_id}}", "1"), "VM.DESTROY").await;
    assert_eq!(cloud.curl(LIST).await, json!([]));
    assert!(cloud.machines().is_empty());
    assert_eq!(cloud.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_guest_lives_through_the_api_on_a_routed_tap() {
    if !namespace::possible() {
        return skipped_without_root();
    }
    namespace::within(|| async {
        let cloud = Program::start(BINARY, "tiny", None, &[("BULUT_NETWORKING", "routed")]).await;
        let rules = namespace::prints("nft", &["list", "ruleset"]);
        assert!(
            rules.contains("10.86.112.0/24") && rules.contains("masquerade"),
            "guests have a way out: {rules}"
        );
        live(&cloud).await;
        let links = namespace::prints("ip", &["-br", "link"]);
        assert_eq!(links.lines().filter(|line| line.starts_with("bv")).count(), 0, "{links}");
        let rules = namespace::prints("nft", &["list", "ruleset"]);
        assert!(!rules.contains("bv1"), "{rules}");
        let routes = namespace::prints("ip", &["route"]);
        assert!(!routes.contains("dev bv"), "{routes}");
    });
}

#[tokio::test]
async fn a_guest_lives_through_the_api_without_any_privilege() {
    let user = nix::unistd::geteuid().is_root().then_some(NOBODY);
    let cloud = Program::start(BINARY, "tiny", user, &[]).await;
    assert!(cloud.log().contains("user"), "{}", cloud.log());
    live(&cloud).await;
}

#[test]
fn a_debian_guest_boots_from_its_own_disk_and_is_as_the_api_says() {
    let test = || async {
        let networking = if namespace::possible() { "routed" } else { "user" };
        let cloud = Program::start(BINARY, "debian-12-x64", None, &[("BULUT_NETWORKING", networking)]).await;
        let fingerprint = cloud.add_key().await;
        let script = "IyEvYmluL3NoCmVjaG8gZnJvbS11c2VyLWRhdGEgPiAvcm9vdC9tYXJrZXIK";
        let order = [("ssh_keys", fingerprint.as_str()), ("package", "eos3"), ("user_data", script)];
        let (id, ordered) = cloud.order("debian-12-x64", &order).await;
        cloud.succeeded(&ordered).await;
        let long = Duration::from_secs(420);
        let status = cloud.says(id, "cloud-init status --wait", long).await;
        assert!(status.ends_with("status: done"), "{status}");
        assert_guest_is_as_shown(&cloud, id, long).await;
        assert_eq!(cloud.says(id, "cat /root/marker", long).await, "from-user-data");
        assert!(cloud.says(id, "cat /etc/os-release", long).await.contains("bookworm"));
        eventually("the seed's password is forgotten", Duration::from_secs(60), || async {
            let seed = std::fs::read(cloud.state().join(format!("machines/{id}/seed.iso"))).unwrap();
            (!seed.windows(8).any(|window| window == b"chpasswd")).then_some(())
        })
        .await;
        cloud.destroy(id).await;
        assert!(cloud.machines().is_empty());
    };
    if namespace::possible() {
        namespace::within(test);
    } else {
        tokio::runtime::Runtime::new().unwrap().block_on(test());
    }
}

#[tokio::test]
async fn a_guest_whose_qemu_cannot_start_leaves_nothing_behind() {
    let settings = [("BULUT_NETWORKING", "user"), ("BULUT_QEMU", "/bin/false")];
    // The driver looks at the program's version when it opens: give it the real one first.
    let mut cloud = Program::start(BINARY, "tiny", None, &settings[..1]).await;
    let broken = cloud.state().join("broken-qemu");
    std::fs::write(&broken, "#!/bin/sh\ncase \"$*\" in *version*) exec qemu-system-x86_64 --version;; esac\necho 'qemu: no such machine today' >&2\nexit 1\n").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    cloud.stop();
    cloud.set(&[("BULUT_QEMU", broken.to_str().unwrap())]);
    cloud.run().await;
    let (id, ordered) = cloud.order("tiny", &[]).await;
    let event = cloud.ended(ordered["event_id"].as_i64().unwrap()).await;
    assert_eq!(event["status"], -1, "{event}");
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("no such machine today"), "{message}");
    let answer: Value = cloud.call("GET", &format!("/v1/server/{id}"), &[]).await;
    assert_eq!(answer["error"]["errorDev"], "not_found", "{answer}");
    assert!(cloud.machines().is_empty());
    assert_eq!(cloud.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[expect(clippy::disallowed_macros, reason = "a test that does not run has to say so")]
fn skipped_without_root() {
    eprintln!("not run: routed taps need root");
}

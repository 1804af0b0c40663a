//! A real guest's network through the API: its firewall, a further address and its package's rate, seen by somebody outside
//! of the host.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut_testkit::namespace;
use bulut_testkit::program::{Program, eventually};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const BOOT: Duration = Duration::from_secs(120);
/// How long somebody outside waits for a greeting before trying again, or taking it for refused.
const GREETING_S: &str = "4";

/// The host's end of the wire to the outside, and the other one: addresses that are for documents.
const HOST: &str = "192.0.2.1";
const OUTSIDE: &str = "192.0.2.2";

/// A network namespace that stands for the rest of the world.
struct Outside {
    namespace: String,
}

impl Outside {
    /// Makes it, with a wire to the present namespace and a default route over it.
    fn open() -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(nix::unistd::gettid()).unwrap();
            // The namespace is there as long as the thread.
            loop {
                std::thread::park();
            }
        });
        let thread = told.recv().unwrap().to_string();
        let outside = Self { namespace: format!("--net=/proc/{thread}/ns/net") };
        for arguments in [
            &["link", "add", "wire", "type", "veth", "peer", "name", "world", "netns", &thread][..],
            &["addr", "add", &format!("{HOST}/24"), "dev", "wire"],
            &["link", "set", "wire", "up"],
        ] {
            namespace::prints("ip", arguments);
        }
        for command in [
            &["ip", "link", "set", "lo", "up"][..],
            &["ip", "addr", "add", &format!("{OUTSIDE}/24"), "dev", "world"],
            &["ip", "link", "set", "world", "up"],
            &["ip", "route", "add", "default", "via", HOST],
        ] {
            let arguments: Vec<&str> = [outside.namespace.as_str()].iter().chain(command).copied().collect();
            namespace::prints("nsenter", &arguments);
        }
        outside
    }

    /// Whether an ssh server greets whoever connects to this address from out there.
    fn is_greeted_by(&self, address: &str) -> bool {
        let script = format!("exec 3<>/dev/tcp/{address}/22 && head -c 4 <&3");
        let output = Command::new("nsenter")
            .args([&self.namespace, "timeout", GREETING_S, "bash", "-c", &script])
            .output()
            .unwrap();
        output.stdout == b"SSH-"
    }

    /// Tries until it is greeted: a guest under load takes a while.
    async fn reaches(&self, address: &str) {
        let what = format!("{address} greets the world outside");
        eventually(&what, BOOT, || async { self.is_greeted_by(address).then_some(()) }).await;
    }
}

/// Asks for a change of a server's network and sees it through.
async fn change(cloud: &Program, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
    let ordered = cloud.call(method, path, form).await;
    assert!(ordered["event_id"].is_i64(), "{method} {path}: {ordered}");
    cloud.succeeded(&ordered).await;
    ordered
}

fn on_the_box(cloud: &Program, arguments: &[&str]) {
    let state = cloud.state();
    let mut command = Command::new(BINARY);
    command.args(arguments).env("BULUT_STATE", state).env("BULUT_DATABASE", cloud.database());
    let status = command.status().unwrap();
    assert!(status.success(), "bulut {arguments:?}");
}

#[test]
fn a_guests_firewall_further_address_and_rate_hold_for_the_world_outside() {
    if !namespace::possible() {
        return skipped_without_root();
    }
    namespace::within(|| async {
        let mut cloud = Program::start(BINARY, "tiny", None, &[("BULUT_NETWORKING", "routed")]).await;
        let outside = Outside::open();
        on_the_box(&cloud, &["package", "rate", "eos1", "--down", "2M", "--up", "2M"]);
        let key = cloud.add_key().await;
        let (id, ordered) = cloud.order("tiny", &[("ssh_keys", key.as_str())]).await;
        cloud.succeeded(&ordered).await;
        assert_eq!(cloud.says(id, "echo up", BOOT).await, "up");
        let own = cloud.server(id).await["networks"]["v4"]["ip"].as_str().unwrap().to_owned();
        let firewall = format!("/v2/servers/{id}/firewall");
        // A new server is open.
        outside.reaches(&own).await;

        change(&cloud, "PUT", &firewall, &[("rules", "in deny tcp 22 192.0.2.0/24")]).await;
        assert!(!outside.is_greeted_by(&own), "the event has ended, so the rule holds");
        assert_eq!(cloud.says(id, "echo still", BOOT).await, "still", "the rule is about the world alone");
        // The control plane dies and comes back; the guest and its rules do not notice.
        cloud.kill();
        assert!(!outside.is_greeted_by(&own), "with nobody to hold it");
        cloud.run().await;
        assert!(!outside.is_greeted_by(&own), "after the restart");
        let first = [("direction", "in"), ("action", "allow"), ("network", OUTSIDE), ("position", "1")];
        change(&cloud, "POST", &firewall, &first).await;
        // The first rule that fits decides.
        outside.reaches(&own).await;

        let addresses = format!("/v2/servers/{id}/addresses");
        let further = change(&cloud, "POST", &addresses, &[]).await["address"].as_str().unwrap().to_owned();
        cloud.says(id, &format!("ip address add {further}/32 dev eth0; echo set"), BOOT).await;
        outside.reaches(&further).await;
        change(&cloud, "DELETE", &format!("{addresses}/{further}"), &[]).await;
        assert!(!outside.is_greeted_by(&further), "it leads nowhere any more");
        outside.reaches(&own).await;

        // 12 million bits at 2 million a second; a burst goes by at once, and slower is no fault of the rate's.
        let begun = Instant::now();
        let sent = cloud.ssh(id, "head -c 1500000 /dev/urandom").await.stdout.len();
        let took = begun.elapsed();
        assert_eq!(sent, 1_500_000);
        assert!(took >= Duration::from_secs(4), "{sent} bytes came in {took:?}");
        let shown = cloud.call("GET", &format!("/v2/servers/{id}"), &[]).await;
        assert_eq!(shown["rates"]["up_bps"], 2_000_000, "{shown}");
        cloud.destroy(id).await;
        assert_eq!(cloud.leftovers(), Vec::<std::path::PathBuf>::new());
    });
}

#[expect(clippy::disallowed_macros, reason = "a test that does not run has to say so")]
fn skipped_without_root() {
    eprintln!("not run: routed taps need root");
}

//! Names for real: what a guest calls itself, what `dig` is told, and what a BIND of Debian takes from us.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

mod dig;
mod named;

use bulut_testkit::program::{Program, eventually};
use dig::{Said, dig, serial};
use named::{Named, OTHER_SECRET, SECRET};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_bulut");
const SOON: Duration = Duration::from_secs(30);
const BOOT: Duration = Duration::from_secs(420);
/// Zones of the pools that a new cloud has.
const V4_ZONE: &str = "112.86.10.in-addr.arpa";
const ZONE: &str = "cloud.example";
/// What the guest says of itself, asked in one session.
const FACTS: &str =
    "cat /proc/sys/kernel/random/boot_id; hostname; cat /etc/hostname; grep ^127.0.1.1 /etc/hosts";

/// A port that is free for UDP and TCP.
fn free_address() -> SocketAddr {
    loop {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = udp.local_addr().unwrap();
        if std::net::TcpListener::bind(at).is_ok() {
            return at;
        }
    }
}

/// The names that belong to a server's addresses.
async fn owners(cloud: &Program, id: i64) -> [String; 2] {
    let server = cloud.server(id).await;
    ["v4", "v6"].map(|family| {
        let address: IpAddr = server["networks"][family]["ip"].as_str().unwrap().parse().unwrap();
        bulut_dns::reverse::owner(address)
    })
}

/// The zone of the pool's IPv6 addresses: the first 64 bits of one.
fn v6_zone(owner: &str) -> String {
    owner.splitn(17, '.').last().unwrap().to_owned()
}

/// Orders another name and waits until it is done; answers the event.
async fn rename(cloud: &Program, id: i64, name: &str) -> Value {
    let ordered = cloud.call("PUT", &format!("/v2/servers/{id}/hostname"), &[("hostname", name)]).await;
    let event = ordered["event_id"].as_i64().unwrap_or_else(|| panic!("{ordered}"));
    let event = cloud.ended(event).await;
    assert_eq!(event["status"], 1, "{event}");
    event
}

/// The guest's boot id, after checking that it is called so in every place.
async fn assert_guest_is_called(cloud: &Program, id: i64, name: &str) -> String {
    let said = cloud.says(id, FACTS, BOOT).await;
    let short = name.split('.').next().unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[1..3], [name, name], "{said}");
    let hosts = lines[3].split_whitespace().collect::<Vec<_>>();
    assert_eq!(hosts, ["127.0.1.1", name, short], "{said}");
    lines[0].to_owned()
}

fn assert_absent(said: &Said) {
    assert_eq!(said.status, "NXDOMAIN", "{}", said.text);
    assert_eq!(said.authority, ["SOA"], "{}", said.text);
    assert!(said.flags.contains(&"aa".to_owned()), "{}", said.text);
}

fn assert_refused(said: &Said) {
    assert_eq!(said.status, "REFUSED", "{}", said.text);
    assert!(said.values.is_empty() && said.authority.is_empty(), "{}", said.text);
}

/// Everything that a stranger may ask for.
fn assert_served_right(at: SocketAddr, owners: &[String; 2], name: &str) {
    for owner in owners {
        for how in ["", " +tcp", " +noedns", " +bufsize=4096 +dnssec"] {
            let said = dig(at, &format!("{owner} PTR{how}"));
            assert_eq!(
                (said.status.as_str(), said.values.as_slice()),
                ("NOERROR", &[format!("{name}.")][..]),
                "{}",
                said.text
            );
            assert!(
                said.flags.contains(&"aa".to_owned()) && !said.flags.contains(&"ra".to_owned()),
                "{}",
                said.text
            );
        }
    }
    assert_absent(&dig(at, &format!("254.{V4_ZONE} PTR")));
    assert_absent(&dig(at, &format!("server-4711.{ZONE} A")));
    let nodata = dig(at, &format!("{} A", owners[0]));
    assert_eq!((nodata.status.as_str(), nodata.authority.as_slice()), ("NOERROR", &["SOA".to_owned()][..]));
    for elsewhere in ["example.com A", "1.2.3.4.in-addr.arpa PTR", ". NS", "version.bind CH TXT"] {
        assert_refused(&dig(at, elsewhere));
    }
    assert_eq!(dig(at, &format!("{V4_ZONE} NS")).values, [format!("ns1.{ZONE}.")]);
    assert_eq!(dig(at, &format!("{ZONE} ANY +notcp")).values.len(), 1);
    for zone in [V4_ZONE, ZONE] {
        let denied = dig(at, &format!("{zone} AXFR"));
        assert!(denied.text.contains("Transfer failed"), "{}", denied.text);
        assert!(denied.text.lines().all(|line| !line.contains("PTR")), "{}", denied.text);
    }
    // dig shows records or nothing of such an answer.
    let denied = dig(at, &format!("{V4_ZONE} IXFR=1 +notcp"));
    assert!(denied.text.lines().all(|line| line.is_empty() || line.starts_with(';')), "{}", denied.text);
}

#[tokio::test]
async fn a_guest_is_called_otherwise_now_and_after_restarts_and_its_addresses_lead_to_it() {
    let at = free_address();
    let settings = [
        ("BULUT_NETWORKING", "user"),
        ("BULUT_DNS_LISTEN", &at.to_string()),
        ("BULUT_DNS_ZONE", ZONE),
        ("BULUT_HOSTNAME_LIMIT_S", "60"),
    ];
    let mut cloud = Program::start(BINARY, "tiny", None, &settings).await;
    let fingerprint = cloud.add_key().await;
    let (id, ordered) = cloud.order("tiny", &[("ssh_keys", &fingerprint)]).await;
    cloud.succeeded(&ordered).await;
    let owners = owners(&cloud, id).await;
    let default = format!("server-{id}.{ZONE}");
    eventually("the default name is served", SOON, || async {
        (dig(at, &format!("{} PTR", owners[0])).values == [format!("{default}.")]).then_some(())
    })
    .await;
    assert_served_right(at, &owners, &default);
    let address = cloud.server(id).await["networks"]["v4"]["ip"].as_str().unwrap().to_owned();
    assert_eq!(dig(at, &format!("{default} A")).values, [address]);
    let before = serial(at, V4_ZONE);

    // While it still boots: the agent is waited for, and the old name does not come back when it has booted.
    let event = rename(&cloud, id, "web1.example.com").await;
    assert_eq!(event["message"].as_str().unwrap_or_default(), "", "the agent did it: {event}");
    assert_served_right(at, &owners, "web1.example.com");
    let boot = assert_guest_is_called(&cloud, id, "web1.example.com").await;
    assert_eq!(cloud.server(id).await["hostname"], "web1.example.com");

    rename(&cloud, id, "web2.example.com").await;
    assert_eq!(assert_guest_is_called(&cloud, id, "web2.example.com").await, boot, "without a restart");
    let after = serial(at, V4_ZONE);
    assert!(bulut_dns::serial::is_after(after, before), "{after} after {before}");

    // Restarted from inside, and by us.
    cloud.ssh(id, "reboot").await;
    let second = eventually("another boot id", BOOT, || async {
        let boots = cloud.says(id, "cat /proc/sys/kernel/random/boot_id", BOOT).await;
        (boots != boot).then_some(boots)
    })
    .await;
    assert_eq!(assert_guest_is_called(&cloud, id, "web2.example.com").await, second);

    // The control plane dies and comes back: the serial stays, the name too.
    cloud.kill();
    cloud.set(&[("BULUT_HOSTNAME_LIMIT_S", "2")]);
    cloud.run().await;
    assert_eq!(serial(at, V4_ZONE), after);
    assert_served_right(at, &owners, "web2.example.com");

    // Without an agent: said so, and true after the guest has restarted by itself.
    let gone =
        cloud.ssh(id, "mv $(readlink /proc/$(pidof qemu-ga)/exe) /root/ && kill $(pidof qemu-ga)").await;
    assert!(gone.status.success(), "{gone:?}");
    let event = rename(&cloud, id, "web3.example.com").await;
    assert!(event["message"].as_str().unwrap().contains("next boot"), "{event}");
    assert_served_right(at, &owners, "web3.example.com");
    assert_eq!(cloud.says(id, "hostname", BOOT).await, "web2.example.com");
    cloud.ssh(id, "reboot").await;
    eventually("the guest has taken the name", BOOT, || async {
        (cloud.says(id, "hostname", BOOT).await == "web3.example.com").then_some(())
    })
    .await;
    assert_guest_is_called(&cloud, id, "web3.example.com").await;

    cloud.destroy(id).await;
    eventually("its names are gone", SOON, || async {
        (dig(at, &format!("{} PTR", owners[0])).status == "NXDOMAIN").then_some(())
    })
    .await;
    assert_absent(&dig(at, &format!("{} PTR", owners[1])));
    assert_absent(&dig(at, &format!("{default} A")));
}

#[tokio::test]
async fn a_debian_guest_keeps_the_name_that_it_was_given_over_a_restart() {
    let settings = [("BULUT_NETWORKING", "user"), ("BULUT_HOSTNAME_LIMIT_S", "400")];
    let cloud = Program::start(BINARY, "debian-12-x64", None, &settings).await;
    let fingerprint = cloud.add_key().await;
    let (id, ordered) =
        cloud.order("debian-12-x64", &[("ssh_keys", &fingerprint), ("package", "eos3")]).await;
    cloud.succeeded(&ordered).await;
    let ordered =
        cloud.call("PUT", &format!("/v2/servers/{id}/hostname"), &[("hostname", "web1.example.com")]).await;
    let event = ordered["event_id"].as_i64().unwrap();
    // It boots for the first time; cloud-init has to be through before the agent may give a name.
    let event = eventually("the guest is called otherwise", BOOT, || async {
        let event = cloud.data("GET", &format!("/v1/event/{event}"), &[]).await;
        (event["status"] != 0).then_some(event)
    })
    .await;
    assert_eq!((&event["status"], event["message"].as_str().unwrap_or_default()), (&1.into(), ""), "{event}");
    let boot = assert_guest_is_called(&cloud, id, "web1.example.com").await;
    assert_eq!(
        cloud.says(id, "hostname -f; hostnamectl --static", BOOT).await,
        "web1.example.com\nweb1.example.com"
    );
    cloud.ssh(id, "systemctl reboot").await;
    eventually("another boot id", BOOT, || async {
        (cloud.says(id, "cat /proc/sys/kernel/random/boot_id", BOOT).await != boot).then_some(())
    })
    .await;
    assert!(cloud.says(id, "cloud-init status --wait", BOOT).await.ends_with("status: done"));
    assert_guest_is_called(&cloud, id, "web1.example.com").await;
}

/// A cloud on a simulated node that tells BIND its names, and a server on it.
async fn telling(bind: &Named, key_file: &str) -> (Program, i64) {
    let settings = [
        ("BULUT_DRIVER", "simulated"),
        ("BULUT_HOSTNAME_LIMIT_S", "0"),
        ("BULUT_DNS_ZONE", ZONE),
        ("BULUT_DNS_UPDATE_SERVER", &bind.at().to_string()),
        ("BULUT_DNS_UPDATE_KEY_NAME", "bulut"),
        ("BULUT_DNS_UPDATE_KEY_FILE", key_file),
    ];
    let cloud = Program::start(BINARY, "tiny", None, &settings).await;
    let (id, ordered) = cloud.order("tiny", &[]).await;
    cloud.succeeded(&ordered).await;
    (cloud, id)
}

async fn bind_knows(bind: &Named, question: &str, values: &[String]) {
    eventually(&format!("BIND answers {values:?} to {question}"), SOON, || async {
        (dig(bind.at(), question).values == values).then_some(())
    })
    .await;
}

async fn bind_forgets(bind: &Named, question: &str) {
    eventually(&format!("BIND knows nothing of {question}"), SOON, || async {
        (dig(bind.at(), question).status == "NXDOMAIN").then_some(())
    })
    .await;
}

/// `bulut dns show --json` on this cloud's state.
fn shown(cloud: &Program, settings: &[(&str, &str)]) -> Value {
    let mut command = Command::new(BINARY);
    command.args(["dns", "show", "--json"]).env("BULUT_STATE", cloud.state()).envs(settings.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn bind_takes_every_name_by_signed_updates_and_loses_none_whoever_dies() {
    // The zone of the IPv6 addresses is known before there is one.
    let v6_zone = "6.8.0.0.4.7.5.7.c.6.5.7.2.6.d.f.ip6.arpa";
    let mut bind = Named::start(&[V4_ZONE, v6_zone, ZONE]).await;
    let key = bind.path("secret");
    std::fs::write(&key, format!("{SECRET}\n")).unwrap();
    let (mut cloud, id) = telling(&bind, key.to_str().unwrap()).await;
    let owners = owners(&cloud, id).await;
    assert_eq!(self::v6_zone(&owners[1]), v6_zone);
    let default = format!("server-{id}.{ZONE}");
    for owner in &owners {
        bind_knows(&bind, &format!("{owner} PTR"), &[format!("{default}.")]).await;
    }
    let address = cloud.server(id).await["networks"]["v4"]["ip"].as_str().unwrap().to_owned();
    bind_knows(&bind, &format!("{default} A"), &[address]).await;
    rename(&cloud, id, "web1.example.com").await;
    for owner in &owners {
        bind_knows(&bind, &format!("{owner} PTR"), &["web1.example.com.".to_owned()]).await;
    }

    // BIND is away: the name is changed all the same; we die before it is back; it is told after that.
    bind.stop();
    rename(&cloud, id, "web2.example.com").await;
    let log = "does not answer";
    eventually("the log says that BIND is away", SOON, || async { cloud.log().contains(log).then_some(()) })
        .await;
    cloud.kill();
    bind.run(ZONE).await;
    assert_eq!(
        dig(bind.at(), &format!("{} PTR", owners[0])).values,
        ["web1.example.com."],
        "it was not told yet"
    );
    cloud.run().await;
    for owner in &owners {
        bind_knows(&bind, &format!("{owner} PTR"), &["web2.example.com.".to_owned()]).await;
    }

    // A server that is destroyed while BIND is away is withdrawn, also by the process after ours.
    bind.stop();
    cloud.destroy(id).await;
    cloud.kill();
    bind.run(ZONE).await;
    cloud.run().await;
    for owner in &owners {
        bind_forgets(&bind, &format!("{owner} PTR")).await;
    }
    bind_forgets(&bind, &format!("{default} A")).await;
    let settings = [
        ("BULUT_DNS_UPDATE_SERVER", bind.at().to_string()),
        ("BULUT_DNS_UPDATE_KEY_NAME", "bulut".to_owned()),
        ("BULUT_DNS_UPDATE_KEY_FILE", key.display().to_string()),
        ("BULUT_DNS_ZONE", ZONE.to_owned()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    eventually("nothing is left to tell", SOON, || async {
        let update = shown(&cloud, &settings)["update"].clone();
        (update["agreed"] == 0 && update["waiting"] == serde_json::json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_key_and_a_zone_that_bind_lacks_are_said_and_tried_again() {
    // Without the zone of the IPv6 addresses.
    let bind = Named::start(&[V4_ZONE, ZONE]).await;
    let key = bind.path("secret");
    std::fs::write(&key, OTHER_SECRET).unwrap();
    let key_file = key.to_str().unwrap().to_owned();
    let (cloud, id) = telling(&bind, &key_file).await;
    let owners = owners(&cloud, id).await;
    eventually("the log says what is wrong with the key", SOON, || async {
        cloud.log().contains("the key bulut.: its secret is another one (BADSIG)").then_some(())
    })
    .await;
    assert_eq!(dig(bind.at(), &format!("{} PTR", owners[0])).status, "NXDOMAIN");
    for secret in [SECRET, OTHER_SECRET] {
        assert!(!cloud.log().contains(secret), "no secret is in the log");
    }
    let at = bind.at().to_string();
    let settings = [
        ("BULUT_DNS_UPDATE_SERVER", at.as_str()),
        ("BULUT_DNS_UPDATE_KEY_NAME", "bulut"),
        ("BULUT_DNS_UPDATE_KEY_FILE", &key_file),
        ("BULUT_DNS_ZONE", ZONE),
    ];
    let waiting = shown(&cloud, &settings)["update"]["waiting"].clone();
    assert!(
        waiting.as_array().unwrap().iter().all(|record| record["error"].as_str().unwrap().contains("BADSIG")),
        "{waiting}"
    );

    // The right one, as tsig-keygen prints it, holds without a restart.
    let printed = format!("key \"bulut\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{SECRET}\";\n}};\n");
    std::fs::write(&key, printed).unwrap();
    bind_knows(&bind, &format!("{} PTR", owners[0]), &[format!("server-{id}.{ZONE}.")]).await;
    // What BIND has no zone for stays to be told, and holds nothing else up.
    let refused = eventually("what BIND refuses is shown", SOON, || async {
        let waiting = shown(&cloud, &settings)["update"]["waiting"].clone();
        let all = waiting.as_array().unwrap();
        (all.len() == 1 && all[0]["name"] == owners[1].as_str()).then(|| all[0].clone())
    })
    .await;
    assert!(refused["error"].as_str().unwrap().contains("no zone"), "{refused}");
    bind_knows(
        &bind,
        &format!("server-{id}.{ZONE} AAAA"),
        &[cloud.server(id).await["networks"]["v6"]["ip"].as_str().unwrap().to_owned()],
    )
    .await;
}

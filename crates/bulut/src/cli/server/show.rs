//! Room: the command line. `bulut server show`: one server, and where ssh reaches it.

use super::One;
use crate::cli::cloud::{Cloud, parse};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::wire::{Endpoint, NativeServer, Network, Rates, Server, TrafficLimit};
use bulut_model::rate::Bps;
use serde_json::Value;

/// Runs the command.
pub async fn run(context: &Context, cloud: &Cloud, one: &One) -> Result<()> {
    let server = super::find(cloud, &one.server).await?;
    print(context, cloud, server.id).await
}

/// Prints one server, as it is now.
pub async fn print(context: &Context, cloud: &Cloud, id: u64) -> Result<()> {
    let mut answer = cloud.get(&format!("/v1/server/{id}"), &[]).await?;
    let mut value = match &mut answer {
        Value::Array(servers) if !servers.is_empty() => servers.remove(0),
        _ => answer,
    };
    let native: NativeServer = cloud.read(&format!("/v2/servers/{id}")).await?;
    if context.output.json {
        if let Some(server) = value.as_object_mut() {
            if let Some(ssh) = &native.ssh {
                server.insert("ssh".into(), serde_json::json!({"host": ssh.host, "port": ssh.port}));
            }
            server.insert("in_pool".into(), native.in_pool.into());
            server.insert("run_mode".into(), native.run_mode.into());
            server.insert("powers_off_at".into(), native.powers_off_at.into());
            server.insert("further_ipv4".into(), native.further_ipv4.into());
            server.insert("rates".into(), serde_json::json!(native.rates));
            server.insert("traffic_limit".into(), serde_json::json!(native.traffic_limit));
            server.insert("forged_frames".into(), native.forged_frames.into());
        }
        context.output.json(&value);
        return Ok(());
    }
    context.output.facts(&facts(parse(value)?, native));
    Ok(())
}

/// Where ssh reaches the server; nothing as long as that is not settled.
pub async fn ssh_endpoint(cloud: &Cloud, id: u64) -> Result<Option<Endpoint>> {
    Ok(cloud.read::<NativeServer>(&format!("/v2/servers/{id}")).await?.ssh)
}

fn facts(server: Server, native: NativeServer) -> Vec<(&'static str, String)> {
    let mode = match &native.powers_off_at {
        Some(at) => format!("{}, off at {at} if it goes on idling", native.run_mode),
        None => native.run_mode,
    };
    let events = server.active_events.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let facts = [
        ("id", server.id.to_string()),
        ("name", server.name),
        ("host name", server.hostname.0),
        ("state", server.state),
        ("under way", if events.is_empty() { events } else { format!("event {events}") }),
        ("region", server.region),
        ("image", server.image),
        ("package", server.package),
        ("size", format!("{} CPU, {} GB memory, {} GB disk", server.cpu, server.memory, server.disk)),
        ("IPv4", address(&server.networks.v4)),
        ("further", native.further_ipv4.join(", ")),
        ("IPv6", address(&server.networks.v6)),
        ("rates", rates(native.rates)),
        ("traffic", native.traffic_limit.as_ref().map(held).unwrap_or_default()),
        ("forgeries", forgeries(native.forged_frames)),
        ("ssh", native.ssh.map(|ssh| ssh_command(&ssh)).unwrap_or_default()),
        ("run mode", mode),
        ("tags", server.tags.join(", ")),
        ("created", server.created_at.0),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn address(network: &Network) -> String {
    if network.ip.is_empty() {
        return String::new();
    }
    format!("{} netmask {} gateway {}", network.ip, network.netmask, network.gateway)
}

/// Nothing where nothing holds the server back.
fn rates(rates: Rates) -> String {
    let (down, up) = (Bps(rates.down_bps.unwrap_or(0)), Bps(rates.up_bps.unwrap_or(0)));
    if rates == Rates::default() { String::new() } else { format!("{down} down, {up} up, bits per second") }
}

/// To what a server is held, since when and until when.
pub fn held(limit: &TrafficLimit) -> String {
    let what = if limit.action == "slow" { "slowed down" } else { "stopped" };
    let since = limit.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
    let until = &limit.until;
    format!(
        "{what}{since} until {until}, or until it gets a larger package: all traffic that its package includes is used"
    )
}

fn forgeries(frames: u64) -> String {
    if frames == 0 {
        String::new()
    } else {
        format!("{frames} frames dropped, which it had no right to send")
    }
}

fn ssh_command(ssh: &Endpoint) -> String {
    if ssh.port == 22 {
        format!("ssh root@{}", ssh.host)
    } else {
        format!("ssh -p {} root@{}", ssh.port, ssh.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_held_says_to_what_since_when_and_until_when() {
        let said = |limit: Value| {
            let server = serde_json::from_value(serde_json::json!({
                "id": 7, "name": "web1", "state": "Stopped", "active_events": []
            }));
            let native =
                serde_json::from_value(serde_json::json!({"run_mode": "normal", "traffic_limit": limit}));
            let facts = facts(server.unwrap(), native.unwrap());
            facts.into_iter().find(|(name, _)| *name == "traffic").unwrap().1
        };
        let (since, until) = ("2026-01-09T12:00:00Z", "2026-02-01T00:00:00Z");
        assert_eq!(
            said(serde_json::json!({"action": "slow", "since": since, "until": until})),
            "slowed down since 2026-01-09T12:00:00Z until 2026-02-01T00:00:00Z, or until it gets a larger package: all \
             traffic that its package includes is used"
        );
        let unknown = said(serde_json::json!({"action": "stop", "since": null, "until": until}));
        assert!(unknown.starts_with("stopped until 2026-02-01T00:00:00Z, or"), "{unknown}");
    }

    #[test]
    fn what_a_server_has_not_is_not_shown() {
        let server = serde_json::from_value(serde_json::json!({
            "id": 7, "name": "web1", "state": "Running", "cpu": 1, "memory": 1, "disk": 20, "active_events": [],
            "networks": {"v4": {"ip": "10.0.0.2", "netmask": "255.255.255.192", "gateway": "10.0.0.1"}, "v6": ""}
        }));
        let native = serde_json::from_value(serde_json::json!({
            "ssh": {"host": "127.0.0.1", "port": 2201}, "run_mode": "safe", "powers_off_at": "2026-01-08T00:00:00Z"
        }));
        let facts = facts(server.unwrap(), native.unwrap());
        let find = |name: &str| facts.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        assert_eq!(find("ssh"), Some("ssh -p 2201 root@127.0.0.1"));
        assert_eq!(find("run mode"), Some("safe, off at 2026-01-08T00:00:00Z if it goes on idling"));
        assert_eq!(find("IPv6"), None);
        for none in ["under way", "rates", "traffic", "forgeries", "further"] {
            assert_eq!(find(none), None);
        }
        assert_eq!(
            rates(Rates { down_bps: Some(100_000_000), up_bps: None }),
            "100M down, unlimited up, bits per second"
        );
        assert_eq!(find("IPv4"), Some("10.0.0.2 netmask 255.255.255.192 gateway 10.0.0.1"));
    }
}

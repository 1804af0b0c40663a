//! Laws of zones.

use super::*;
use confique::Config as _;

fn settings(zone: Option<&str>) -> Dns {
    let mut settings = Dns::builder().load().unwrap();
    settings.zone = zone.map(str::to_owned);
    settings.nameservers = vec!["ns1.cloud.example=192.0.2.53".into(), "ns2.example.net=192.0.2.54".into()];
    settings
}

fn pool(network: &str, prefix: u8) -> Pool {
    let network: IpAddr = network.parse().unwrap();
    Pool { id: 1, network, prefix, gateway: network, resolvers: Vec::new() }
}

fn named(id: i64, ipv4: &str, name: Option<&str>, claimed: bool) -> Named {
    Named {
        server: ServerId(id),
        reverse_name: name.map(str::to_owned),
        claimed,
        ipv4: Some(ipv4.parse().unwrap()),
        further: vec![],
        ipv6: None,
    }
}

/// The zone's records as text.
fn zone(contents: &[Content], origin: &str) -> Vec<String> {
    let content = contents.iter().find(|content| content.origin == origin);
    let records = &content.unwrap_or_else(|| panic!("no zone {origin} in {contents:?}")).records;
    records
        .iter()
        .map(|record| match &record.data {
            Data::Ptr(target) => format!("{} PTR {target}", record.owner),
            Data::A(address) => format!("{} A {address}", record.owner),
            Data::Aaaa(address) => format!("{} AAAA {address}", record.owner),
        })
        .collect()
}

#[test]
fn an_address_leads_to_what_its_owner_said_or_to_a_default_that_leads_back() {
    let servers =
        [named(1, "10.86.112.2", None, false), named(2, "10.86.112.3", Some("mail.example.com"), false)];
    let contents = contents(&settings(Some("cloud.example")), &[pool("10.86.112.0", 24)], &servers);
    assert_eq!(
        zone(&contents, "112.86.10.in-addr.arpa"),
        [
            "2.112.86.10.in-addr.arpa PTR server-1.cloud.example",
            "3.112.86.10.in-addr.arpa PTR mail.example.com"
        ]
    );
    assert_eq!(
        zone(&contents, "cloud.example"),
        [
            "ns1.cloud.example A 192.0.2.53",
            "server-1.cloud.example A 10.86.112.2",
            "server-2.cloud.example A 10.86.112.3"
        ]
    );
}

#[test]
fn without_a_zone_of_the_provider_only_what_was_said_is_known() {
    let servers =
        [named(1, "10.86.112.2", None, false), named(2, "10.86.112.3", Some("mail.example.com"), false)];
    let contents = contents(&settings(None), &[pool("10.86.112.0", 24)], &servers);
    assert_eq!(contents.len(), 1);
    assert_eq!(zone(&contents, "112.86.10.in-addr.arpa"), ["3.112.86.10.in-addr.arpa PTR mail.example.com"]);
}

#[test]
fn a_name_of_the_providers_zone_leads_to_the_one_server_that_took_it() {
    let servers = [
        named(1, "10.86.112.2", Some("Shop.Cloud.Example"), true),
        named(2, "10.86.112.3", Some("shop.cloud.example"), false),
    ];
    let contents = contents(&settings(Some("cloud.example")), &[pool("10.86.112.0", 24)], &servers);
    let forward = zone(&contents, "cloud.example");
    assert!(forward.contains(&"shop.cloud.example A 10.86.112.2".to_owned()), "{forward:?}");
    assert!(!forward.contains(&"shop.cloud.example A 10.86.112.3".to_owned()), "{forward:?}");
}

#[test]
fn a_name_of_a_zone_that_is_the_providers_no_more_leads_nowhere_by_us() {
    let servers = [named(1, "10.86.112.2", Some("shop.cloud.example"), true)];
    let owners = |zone| -> Vec<String> {
        records(&settings(zone), &servers).into_iter().map(|record| record.owner).collect()
    };
    assert!(owners(Some("cloud.example")).contains(&"shop.cloud.example".to_owned()));
    assert!(!owners(Some("other.example")).contains(&"shop.cloud.example".to_owned()));
    assert_eq!(owners(None), ["2.112.86.10.in-addr.arpa"]);
}

#[test]
fn a_part_of_a_24_stands_in_the_whole_and_in_a_zone_of_its_own() {
    let servers =
        [named(1, "192.0.2.70", Some("a.example"), false), named(2, "192.0.2.130", Some("b.example"), false)];
    let pools = [pool("192.0.2.64", 26), pool("192.0.2.128", 26)];
    let contents = contents(&settings(None), &pools, &servers);
    assert_eq!(contents.len(), 3);
    assert_eq!(
        zone(&contents, "2.0.192.in-addr.arpa"),
        ["70.2.0.192.in-addr.arpa PTR a.example", "130.2.0.192.in-addr.arpa PTR b.example"]
    );
    assert_eq!(
        zone(&contents, "64/26.2.0.192.in-addr.arpa"),
        ["70.64/26.2.0.192.in-addr.arpa PTR a.example"]
    );
    assert_eq!(
        zone(&contents, "128/26.2.0.192.in-addr.arpa"),
        ["130.128/26.2.0.192.in-addr.arpa PTR b.example"]
    );
}

#[test]
fn an_address_of_no_pool_is_nobodys_to_ask_us_for() {
    let contents =
        contents(&settings(None), &[pool("10.0.0.0", 24)], &[named(1, "10.9.9.9", Some("a.example"), false)]);
    assert_eq!(zone(&contents, "0.0.10.in-addr.arpa"), Vec::<String>::new());
}

#[test]
fn every_zone_can_be_served_and_its_digest_follows_what_it_holds() {
    let servers = [named(1, "192.0.2.70", Some("a.example"), false)];
    let pools = [pool("192.0.2.64", 26), pool("fd00:1:2:3::", 64)];
    let before = contents(&settings(Some("cloud.example")), &pools, &servers);
    for content in &before {
        bulut_dns::Zone::new(content, 1).unwrap();
    }
    let digests = |contents: &[Content]| contents.iter().map(digest).collect::<Vec<_>>();
    let mut turned = before.clone();
    for content in &mut turned {
        content.records.reverse();
    }
    assert_eq!(digests(&turned), digests(&before), "the order means nothing");
    let after = contents(
        &settings(Some("cloud.example")),
        &pools,
        &[named(1, "192.0.2.70", Some("b.example"), false)],
    );
    let changed: Vec<&str> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| digest(before) != digest(after))
        .map(|(before, _)| before.origin.as_str())
        .collect();
    assert_eq!(changed, ["2.0.192.in-addr.arpa", "64/26.2.0.192.in-addr.arpa"]);
}

#[test]
fn further_addresses_lead_to_the_servers_name_and_it_to_them() {
    let mut server = named(1, "10.86.112.70", None, false);
    server.further = vec!["10.86.112.71".parse().unwrap(), "10.99.0.7".parse().unwrap()];
    let pools = [pool("10.86.112.64", 26), pool("10.99.0.0", 16)];
    let contents = contents(&settings(Some("cloud.example")), &pools, &[server]);
    let forth = zone(&contents, "cloud.example");
    for address in ["10.86.112.70", "10.86.112.71", "10.99.0.7"] {
        let record = format!("server-1.cloud.example A {address}");
        assert!(forth.contains(&record), "{record} is not in {forth:?}");
    }
    let all: Vec<String> = contents.iter().flat_map(|it| zone(&contents, &it.origin)).collect();
    for (owner, times) in [
        ("71.112.86.10.in-addr.arpa", 1),
        ("7.0.99.10.in-addr.arpa", 1),
        ("71.64/26.112.86.10.in-addr.arpa", 1),
    ] {
        let record = format!("{owner} PTR server-1.cloud.example");
        assert_eq!(all.iter().filter(|it| **it == record).count(), times, "{record}: {all:?}");
    }
}

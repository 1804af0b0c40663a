//! The seed: what cloud-init's NoCloud source reads at the first boot, as a small ISO 9660 image.
//!
//! Pure: a [`Seed`] and a [`Nic`] in, the bytes of an image out. The files are JSON, which is valid YAML, so that
//! nothing has to be quoted by hand. What the seed says is in `user_data`, with `documents` for what customers send
//! and `hooks` for what happens at every boot.

mod documents;
mod hooks;
mod user_data;

use crate::DriverError;
use crate::spec::{Nic, Seed};
use hadris_iso::read::PathSeparator;
use hadris_iso::write::options::{CreationFeatures, IsoFormatOptions};
use hadris_iso::write::{InputEntry, InputTree, IsoImageWriter};
use serde_json::json;
use std::io::Cursor;

/// The image's size is a multiple of this, bytes.
const PADDING: usize = 128 * 1024;

/// What a seed says: the three files that NoCloud reads. They hold passwords, so that it has no `Debug`.
pub struct Files([(&'static str, Vec<u8>); 3]);

impl Files {
    /// The files for a machine.
    ///
    /// # Errors
    /// `Fatal` when the customer's user-data cannot be unpacked or is too large.
    pub fn new(seed: &Seed, nic: &Nic) -> Result<Self, DriverError> {
        Ok(Self([
            ("meta-data", meta_data(seed).into_bytes()),
            ("user-data", user_data::file(seed)?),
            ("network-config", network_config(nic).into_bytes()),
        ]))
    }

    /// A checksum (FNV-1a) that changes with what is said; the image itself carries the time of its making.
    pub fn sum(&self) -> u64 {
        let bytes =
            self.0.iter().flat_map(|(name, data)| name.bytes().chain(data.iter().copied()).chain([0]));
        bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// The seed's image.
    ///
    /// # Errors
    /// `Fatal` when it cannot be laid out.
    pub fn image(self) -> Result<Vec<u8>, DriverError> {
        iso(self.0.into())
    }
}

/// NoCloud's `meta-data`.
fn meta_data(seed: &Seed) -> String {
    json!({ "instance-id": seed.instance_id, "local-hostname": seed.hostname }).to_string()
}

/// NoCloud's `network-config`, version 2. The interface is found by its MAC and called `eth0`.
fn network_config(nic: &Nic) -> String {
    let mut addresses = Vec::new();
    let mut routes = Vec::new();
    if let Some(v4) = nic.ipv4 {
        addresses.push(format!("{}/{}", v4.address, v4.prefix));
        routes.push(json!({ "to": "0.0.0.0/0", "via": v4.gateway }));
        addresses.extend(nic.more_ipv4.iter().map(|address| format!("{address}/32")));
    }
    if let Some(v6) = nic.ipv6 {
        addresses.push(format!("{}/{}", v6.address, v6.prefix));
        routes.push(json!({ "to": "::/0", "via": v6.gateway, "on-link": true }));
    }
    let mut eth = json!({
        "match": { "macaddress": nic.mac },
        "set-name": "eth0",
        // Everything is said here; without this, networkd waits 12 s for a router that never advertises itself.
        "accept-ra": false,
        "addresses": addresses,
        "routes": routes,
        "nameservers": { "addresses": nic.resolvers },
    });
    if nic.mtu != 1500 {
        eth["mtu"] = json!(nic.mtu);
    }
    json!({ "version": 2, "ethernets": { "eth0": eth } }).to_string()
}

/// An ISO 9660 image labelled `cidata`, with Rock Ridge and Joliet names, so that every reader finds the files.
fn iso(files: Vec<(&str, Vec<u8>)>) -> Result<Vec<u8>, DriverError> {
    let room = 512 * 1024 + 2 * files.iter().map(|(_, data)| data.len()).sum::<usize>();
    let entries = files.into_iter().map(|(name, data)| InputEntry::file(name, data)).collect();
    let options = IsoFormatOptions {
        volume_name: "cidata".to_owned(),
        system_id: None,
        volume_set_id: None,
        publisher_id: None,
        preparer_id: None,
        application_id: None,
        sector_size: 2048,
        path_separator: PathSeparator::ForwardSlash,
        features: CreationFeatures::extensions(),
        strict_charset: false,
    };
    let tree = InputTree::new(PathSeparator::ForwardSlash, entries);
    let image = IsoImageWriter::create(Cursor::new(vec![0; room]), tree, options)
        .map_err(|e| DriverError::fatal(format!("the seed could not be written: {e}")))?
        .into_inner();
    Ok(padded(image))
}

/// The image with its end at a round size. Readers look for other file systems first, as far as 68 KiB into the disk,
/// and some (busybox) give up on a disk that ends before. And a seed that is rewritten with a little less in it
/// fits in the place of the old one.
fn padded(mut image: Vec<u8>) -> Vec<u8> {
    let end = image.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    image.resize(end.next_multiple_of(PADDING), 0);
    image
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::spec::{Ipv4, Ipv6, PasswordChange, Rates, Secret};
    use hadris_iso::read::IsoImage;
    use serde_json::Value;

    fn nic() -> Nic {
        Nic {
            mac: "52:54:00:00:00:0a".into(),
            ipv4: Some(Ipv4 {
                address: "10.77.0.10".parse().unwrap(),
                prefix: 26,
                gateway: "10.77.0.1".parse().unwrap(),
            }),
            ipv6: Some(Ipv6 {
                address: "fd77::10".parse().unwrap(),
                prefix: 128,
                gateway: "fe80::1".parse().unwrap(),
            }),
            resolvers: vec!["1.1.1.1".parse().unwrap()],
            more_ipv4: vec![],
            mtu: 1500,
            firewall: vec![],
            rates: Rates::default(),
        }
    }

    pub fn seed(user_data: Option<&[u8]>) -> Seed {
        Seed {
            instance_id: "i-1".into(),
            hostname: "web1.example.org".into(),
            renamed: false,
            ssh_keys: vec!["ssh-ed25519 AAAA someone".into()],
            root_password: Some(Secret("s3cret-pässword".into())),
            user_data: user_data.map(<[u8]>::to_vec),
            recipe: None,
            fresh_identity: false,
            password_change: None,
        }
    }

    #[test]
    fn the_network_is_static_and_found_by_its_mac() {
        let json: Value = serde_json::from_str(&network_config(&nic())).unwrap();
        let eth = &json["ethernets"]["eth0"];
        assert_eq!(eth["addresses"], json!(["10.77.0.10/26", "fd77::10/128"]));
        assert_eq!(eth["routes"][1], json!({ "to": "::/0", "via": "fe80::1", "on-link": true }));
        assert_eq!(eth["match"]["macaddress"], "52:54:00:00:00:0a");
        assert!(eth.get("mtu").is_none());
        let more = Nic { more_ipv4: vec!["10.78.0.5".parse().unwrap()], ..nic() };
        let json: Value = serde_json::from_str(&network_config(&more)).unwrap();
        let addresses = &json["ethernets"]["eth0"]["addresses"];
        assert_eq!(*addresses, json!(["10.77.0.10/26", "10.78.0.5/32", "fd77::10/128"]));
        let narrow = Nic { mtu: 1420, ..nic() };
        let json: Value = serde_json::from_str(&network_config(&narrow)).unwrap();
        assert_eq!(json["ethernets"]["eth0"]["mtu"], 1420);
    }

    #[test]
    fn the_sum_follows_what_is_said() {
        let sum = |seed: &Seed| Files::new(seed, &nic()).unwrap().sum();
        assert_eq!(sum(&seed(None)), sum(&seed(None)));
        assert_ne!(sum(&seed(None)), sum(&Seed { root_password: None, ..seed(None) }));
        let change = PasswordChange { hash: Secret("$6$salt$hash".into()), nonce: "n1".into() };
        assert_ne!(sum(&seed(None)), sum(&Seed { password_change: Some(change), ..seed(None) }));
    }

    #[test]
    fn the_image_is_labelled_and_its_files_read_back() {
        let bytes = Files::new(&seed(Some(b"#!/bin/sh\n")), &nic()).unwrap().image().unwrap();
        assert_eq!(bytes.len(), PADDING);
        assert_eq!(&bytes[16 * 2048 + 40..16 * 2048 + 46], b"cidata");
        let iso = IsoImage::open(Cursor::new(bytes.clone())).unwrap();
        let names: Vec<String> = iso
            .root_dir()
            .iter(&iso)
            .entries()
            .filter_map(Result::ok)
            .filter(|e| !e.is_special())
            .map(|e| e.display_name().into_owned())
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
        for name in ["meta-data", "user-data", "network-config"] {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
        let needle = b"\"instance-id\":\"i-1\"";
        assert!(bytes.windows(needle.len()).any(|w| w == needle));
    }
}

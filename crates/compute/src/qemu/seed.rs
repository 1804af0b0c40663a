//! The seed: what cloud-init's NoCloud source reads at the first boot, as a small ISO 9660 image.
//!
//! Pure: a [`Seed`] and a [`Nic`] in, the bytes of an image out. The files are JSON, which is valid YAML, so that
//! nothing has to be quoted by hand. The customer's user-data is merged by MIME multipart: the first part is ours,
//! the second theirs, so that theirs adds to ours.

use crate::DriverError;
use crate::spec::{Nic, Seed};
use base64::Engine as _;
use hadris_iso::read::PathSeparator;
use hadris_iso::write::options::{CreationFeatures, IsoFormatOptions};
use hadris_iso::write::{InputEntry, InputTree, IsoImageWriter};
use serde_json::{Map, Value, json};
use std::io::{Cursor, Read};

/// Unpacked user-data larger than this is refused, bytes: no cloud takes more, and gzip can hide far more.
const USER_DATA_LIMIT: u64 = 1 << 20;

/// The image's size is a multiple of this, bytes.
const PADDING: usize = 128 * 1024;

/// How cloud-init merges the customer's cloud-config into ours: lists are joined, maps are joined, our scalars stay.
const MERGE_TYPE: &str = "list(append)+dict(no_replace,recurse_list)+str()";

/// What a seed says: the three files that NoCloud reads.
pub struct Files([(&'static str, Vec<u8>); 3]);

impl Files {
    /// The files for a machine.
    ///
    /// # Errors
    /// `Fatal` when the customer's user-data cannot be unpacked or is too large.
    pub fn new(seed: &Seed, nic: &Nic) -> Result<Self, DriverError> {
        Ok(Self([
            ("meta-data", meta_data(seed).into_bytes()),
            ("user-data", user_data(seed)?),
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

/// Our own cloud-config: host name, keys, root's password.
fn cloud_config(seed: &Seed) -> String {
    let host = seed.hostname.split('.').next().unwrap_or(&seed.hostname);
    let mut config = Map::new();
    config.insert("hostname".into(), json!(host));
    if host != seed.hostname {
        config.insert("fqdn".into(), json!(seed.hostname));
        // What `hostname` prints in the guest is then what the API shows, whole.
        config.insert("prefer_fqdn_over_hostname".into(), json!(true));
    }
    config.insert("manage_etc_hosts".into(), json!("localhost"));
    config.insert("disable_root".into(), json!(false));
    config.insert("ssh_authorized_keys".into(), json!(seed.ssh_keys));
    if let Some(password) = &seed.root_password {
        config.insert("ssh_pwauth".into(), json!(true));
        config.insert(
            "chpasswd".into(),
            json!({ "expire": false, "users": [{ "name": "root", "password": password.0, "type": "text" }] }),
        );
        // Distributions refuse root's password over ssh by default; the customer was just given one to use.
        config.insert(
            "write_files".into(),
            json!([{ "path": "/etc/ssh/sshd_config.d/10-root-password.conf", "content": "PermitRootLogin yes\n" }]),
        );
    }
    format!("#cloud-config\n{}\n", Value::Object(config))
}

/// NoCloud's `user-data`: ours alone, or ours and the customer's as MIME parts.
fn user_data(seed: &Seed) -> Result<Vec<u8>, DriverError> {
    let ours = cloud_config(seed);
    let theirs = match &seed.user_data {
        Some(data) => unpacked(data)?,
        None => return Ok(ours.into_bytes()),
    };
    if theirs.iter().all(u8::is_ascii_whitespace) {
        return Ok(ours.into_bytes());
    }
    let own_part = part("text/cloud-config", "", ours.as_bytes());
    let their_part = match kind(&theirs) {
        Kind::Multipart => String::from_utf8_lossy(&theirs).trim_start().to_owned(),
        Kind::CloudConfig => part("text/cloud-config", &format!("Merge-Type: {MERGE_TYPE}\n"), &theirs),
        Kind::Script => part("text/x-shellscript", "", &theirs),
        // Boothooks, includes, jinja templates: cloud-init knows them by their first line.
        Kind::Other => part("text/plain", "", &theirs),
    };
    let boundary = boundary(&[&own_part, &their_part]);
    Ok(format!(
        "Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n\
         --{boundary}\n{own_part}\n--{boundary}\n{their_part}\n--{boundary}--\n"
    )
    .into_bytes())
}

/// What the customer's user-data is, by its beginning, as cloud-init tells them apart.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Multipart,
    CloudConfig,
    Script,
    Other,
}

fn kind(data: &[u8]) -> Kind {
    let text = String::from_utf8_lossy(data);
    let text = text.trim_start();
    let first = text.lines().next().unwrap_or("").trim_end();
    if first == "#cloud-config" || first.starts_with("#cloud-config ") {
        return Kind::CloudConfig;
    }
    if first.starts_with("#!") {
        return Kind::Script;
    }
    let headers = text.lines().take_while(|line| !line.trim().is_empty());
    let multipart = headers.map(str::to_ascii_lowercase).any(|line| {
        line.strip_prefix("content-type:").is_some_and(|v| v.trim_start().starts_with("multipart/"))
    });
    if multipart { Kind::Multipart } else { Kind::Other }
}

/// One MIME part; whatever is not plain ASCII travels as base64, since cloud-init mangles 8-bit parts.
fn part(content_type: &str, headers: &str, body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok(text) if text.is_ascii() && !text.contains('\0') => {
            format!(
                "Content-Type: {content_type}; charset=\"us-ascii\"\nMIME-Version: 1.0\n{headers}\n{text}"
            )
        }
        _ => {
            let mut encoded = String::new();
            for line in base64::engine::general_purpose::STANDARD.encode(body).as_bytes().chunks(76) {
                encoded.push_str(&String::from_utf8_lossy(line));
                encoded.push('\n');
            }
            format!(
                "Content-Type: {content_type}; charset=\"utf-8\"\nMIME-Version: 1.0\n\
                 Content-Transfer-Encoding: base64\n{headers}\n{encoded}"
            )
        }
    }
}

/// A boundary that occurs in none of the parts; the same parts always get the same one.
fn boundary(parts: &[&str]) -> String {
    let mut n = 0_u32;
    loop {
        let candidate = format!("===============bulut-{n:08}==");
        if !parts.iter().any(|part| part.contains(&candidate)) {
            return candidate;
        }
        n += 1;
    }
}

/// The user-data without its gzip wrapping, if it has one: cloud-init does not look for multipart inside a
/// compressed part, so we unpack before we merge.
fn unpacked(data: &[u8]) -> Result<Vec<u8>, DriverError> {
    if !data.starts_with(&[0x1f, 0x8b]) {
        return Ok(data.to_vec());
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(data)
        .take(USER_DATA_LIMIT + 1)
        .read_to_end(&mut plain)
        .map_err(|e| DriverError::fatal(format!("the compressed user-data is broken: {e}")))?;
    if plain.len() as u64 > USER_DATA_LIMIT {
        return Err(DriverError::fatal("the user-data is larger than 1 MiB when unpacked"));
    }
    Ok(plain)
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
mod tests {
    use super::*;
    use crate::spec::{Ipv4, Ipv6, Secret};
    use hadris_iso::read::IsoImage;
    use std::io::Write as _;

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
            mtu: 1500,
        }
    }

    fn seed(user_data: Option<&[u8]>) -> Seed {
        Seed {
            instance_id: "i-1".into(),
            hostname: "web1.example.org".into(),
            ssh_keys: vec!["ssh-ed25519 AAAA someone".into()],
            root_password: Some(Secret("s3cret-pässword".into())),
            user_data: user_data.map(<[u8]>::to_vec),
            recipe: None,
            fresh_identity: false,
            password_change: None,
        }
    }

    fn text(user_data: Option<&[u8]>) -> String {
        String::from_utf8(super::user_data(&seed(user_data)).unwrap()).unwrap()
    }

    #[test]
    fn without_user_data_ours_is_the_whole_file() {
        let text = text(None);
        let json: Value = serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        assert_eq!(json["hostname"], "web1");
        assert_eq!(json["fqdn"], "web1.example.org");
        assert_eq!(json["chpasswd"]["users"][0]["password"], "s3cret-pässword");
        assert_eq!(json["ssh_authorized_keys"][0], "ssh-ed25519 AAAA someone");
        assert!(text_without_password().find("chpasswd").is_none());
        assert_eq!(super::user_data(&seed(Some(b" \n"))).unwrap(), text.into_bytes(), "blank data is none");
    }

    fn text_without_password() -> String {
        let bare = Seed { root_password: None, ..seed(None) };
        String::from_utf8(super::user_data(&bare).unwrap()).unwrap()
    }

    #[test]
    fn the_network_is_static_and_found_by_its_mac() {
        let json: Value = serde_json::from_str(&network_config(&nic())).unwrap();
        let eth = &json["ethernets"]["eth0"];
        assert_eq!(eth["addresses"], json!(["10.77.0.10/26", "fd77::10/128"]));
        assert_eq!(eth["routes"][1], json!({ "to": "::/0", "via": "fe80::1", "on-link": true }));
        assert_eq!(eth["match"]["macaddress"], "52:54:00:00:00:0a");
        assert!(eth.get("mtu").is_none());
        let narrow = Nic { mtu: 1420, ..nic() };
        let json: Value = serde_json::from_str(&network_config(&narrow)).unwrap();
        assert_eq!(json["ethernets"]["eth0"]["mtu"], 1420);
    }

    #[test]
    fn a_cloud_config_is_merged_as_second_part() {
        let text = text(Some(b"#cloud-config\nwrite_files: []\n"));
        assert!(text.starts_with("Content-Type: multipart/mixed; boundary="));
        assert!(text.contains(&format!("Merge-Type: {MERGE_TYPE}\n\n#cloud-config\nwrite_files: []\n")));
        assert_eq!(text.matches("--===============bulut-00000000==").count(), 3);
    }

    #[test]
    fn a_script_is_a_script_and_what_is_not_ascii_is_encoded() {
        assert!(text(Some(b"#!/bin/sh\necho hi\n")).contains("text/x-shellscript; charset=\"us-ascii\""));
        let text = text(Some("#!/bin/sh\necho çay\n".as_bytes()));
        let encoded = base64::engine::general_purpose::STANDARD.encode("#!/bin/sh\necho çay\n");
        assert!(text.contains("Content-Transfer-Encoding: base64"));
        assert!(text.contains(&encoded));
    }

    #[test]
    fn a_multipart_document_becomes_a_nested_part_even_when_compressed() {
        let theirs = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"X\"\n\n--X\nContent-Type: text/plain\n\n#!/bin/sh\n--X--\n";
        let plain = text(Some(theirs.as_bytes()));
        assert!(plain.contains(&format!("==\n{theirs}")));
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(theirs.as_bytes()).unwrap();
        assert_eq!(text(Some(&gz.finish().unwrap())), plain);
    }

    #[test]
    fn a_gzip_bomb_and_broken_gzip_are_refused() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&vec![b'#'; 2 << 20]).unwrap();
        assert!(matches!(super::user_data(&seed(Some(&gz.finish().unwrap()))), Err(DriverError::Fatal(_))));
        assert!(matches!(super::user_data(&seed(Some(&[0x1f, 0x8b, 0, 1]))), Err(DriverError::Fatal(_))));
    }

    #[test]
    fn a_boundary_never_occurs_in_what_it_bounds() {
        let hostile = b"#!/bin/sh\n--===============bulut-00000000==--\n";
        assert!(text(Some(hostile)).contains("boundary=\"===============bulut-00000001==\""));
    }

    #[test]
    fn the_sum_follows_what_is_said() {
        let sum = |seed: &Seed| Files::new(seed, &nic()).unwrap().sum();
        assert_eq!(sum(&seed(None)), sum(&seed(None)));
        assert_ne!(sum(&seed(None)), sum(&Seed { root_password: None, ..seed(None) }));
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

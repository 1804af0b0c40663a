//! The seed's `user-data`: ours alone, or a MIME document of ours, the application's, the customer's, and what has to
//! happen at boot, merged so that each adds to those before it.

use super::documents::{Document, documents};
use super::hooks;
use crate::DriverError;
use crate::spec::Seed;
use base64::Engine as _;
use serde_json::{Map, Value, json};

/// How cloud-init merges a cloud-config into those before it: lists are joined, maps are joined, a value that is there
/// stays.
pub const MERGE_TYPE: &str = "list(append)+dict(no_replace,recurse_list)+str()";

/// As [`MERGE_TYPE`], but the new list comes first: what has to happen happens, whatever stands before it.
const MERGE_FIRST: &str = "list(prepend)+dict(no_replace,recurse_list)+str()";

/// Root's password over ssh is refused by default in most distributions; the customer was just given one to use.
const ROOT_LOGIN: &str = "/etc/ssh/sshd_config.d/10-root-password.conf";

/// The file for a seed.
///
/// # Errors
/// `Fatal` when the customer's user-data cannot be unpacked or is too large.
pub fn file(seed: &Seed) -> Result<Vec<u8>, DriverError> {
    let ours = cloud_config(seed);
    let mut parts = vec![part("text/cloud-config", "", ours.as_bytes())];
    if let Some(recipe) = &seed.recipe {
        parts.push(merged(recipe, MERGE_TYPE));
    }
    if let Some(data) = &seed.user_data {
        parts.extend(documents(data)?.iter().map(theirs));
    }
    if let Some(hooks) = hooks::cloud_config(seed) {
        parts.push(merged(&hooks, MERGE_FIRST));
    }
    if parts.len() == 1 {
        return Ok(ours.into_bytes());
    }
    let boundary = boundary(&parts);
    let mut text = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n");
    for part in parts {
        text.push_str(&format!("--{boundary}\n{part}\n"));
    }
    text.push_str(&format!("--{boundary}--\n"));
    Ok(text.into_bytes())
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
    // Addresses that were added or taken away later are the guest's at its next boot, not only those of its first.
    config.insert("updates".into(), json!({ "network": { "when": ["boot-new-instance", "boot"] } }));
    if seed.root_password.is_some() || seed.password_change.is_some() {
        config.insert("ssh_pwauth".into(), json!(true));
        config.insert(
            "write_files".into(),
            json!([{ "path": ROOT_LOGIN, "content": "PermitRootLogin yes\n" }]),
        );
    }
    // A change comes first in a boot, and what is set here would undo it.
    if let (Some(password), None) = (&seed.root_password, &seed.password_change) {
        config.insert(
            "chpasswd".into(),
            json!({ "expire": false, "users": [{ "name": "root", "password": password.0, "type": "text" }] }),
        );
    }
    format!("#cloud-config\n{}\n", Value::Object(config))
}

fn merged(config: &str, merge_type: &str) -> String {
    part("text/cloud-config", &format!("Merge-Type: {merge_type}\n"), config.as_bytes())
}

/// A customer's document as a part. A cloud-config that does not say how it is merged would take the place of what is
/// there; theirs is to add to it.
fn theirs(document: &Document) -> String {
    let mut headers = String::new();
    for (name, value) in &document.headers {
        if value.is_ascii() {
            headers.push_str(&format!("{name}: {value}\n"));
        }
    }
    let merges = ["text/cloud-config", "text/jinja2"].contains(&document.content_type.as_str());
    if merges && !document.has("merge-type") && !document.has("x-merge-type") {
        headers.push_str(&format!("Merge-Type: {MERGE_TYPE}\n"));
    }
    part(&document.content_type, &headers, &document.body)
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
fn boundary(parts: &[String]) -> String {
    let mut n = 0_u32;
    loop {
        let candidate = format!("===============bulut-{n:08}==");
        if !parts.iter().any(|part| part.contains(&candidate)) {
            return candidate;
        }
        n += 1;
    }
}

#[cfg(test)]
#[path = "user_data_tests.rs"]
mod tests;

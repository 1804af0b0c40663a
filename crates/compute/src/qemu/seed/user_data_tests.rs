//! What cloud-init is told, read as it reads it.

use super::super::tests::seed;
use super::*;
use crate::spec::{PasswordChange, Secret};

fn text_of(seed: &Seed) -> String {
    String::from_utf8(file(seed).unwrap()).unwrap()
}

fn text(user_data: Option<&[u8]>) -> String {
    text_of(&seed(user_data))
}

fn json(config: &str) -> Value {
    serde_json::from_str(config.strip_prefix("#cloud-config\n").unwrap()).unwrap()
}

/// The parts as the same reader takes them apart that reads customers' documents.
fn parts(seed: &Seed) -> Vec<Document> {
    documents(&file(seed).unwrap()).unwrap()
}

fn header<'a>(part: &'a Document, name: &str) -> Option<&'a str> {
    part.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn change() -> PasswordChange {
    PasswordChange { hash: Secret("$6$salt$hash".into()), nonce: "n1".into() }
}

#[test]
fn without_user_data_ours_is_the_whole_file() {
    let text = text(None);
    let json = json(&text);
    assert_eq!(json["hostname"], "web1");
    assert_eq!(json["fqdn"], "web1.example.org");
    assert_eq!(json["chpasswd"]["users"][0]["password"], "s3cret-pässword");
    assert_eq!(json["ssh_authorized_keys"][0], "ssh-ed25519 AAAA someone");
    assert_eq!(json["updates"]["network"]["when"][1], "boot", "later addresses never reach the guest");
    let bare = text_of(&Seed { root_password: None, ..seed(None) });
    assert!(!bare.contains("chpasswd") && !bare.contains("write_files"), "{bare}");
    assert_eq!(file(&seed(Some(b" \n"))).unwrap(), text.into_bytes(), "blank data is none");
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
fn a_multipart_documents_parts_add_to_ours_even_when_compressed() {
    let theirs = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"X\"\n\n\
        --X\nContent-Type: text/plain\nContent-Disposition: attachment; filename=\"a.sh\"\n\n#!/bin/sh\n\
        --X\nContent-Type: text/cloud-config\n\n#cloud-config\nwrite_files: [{path: /a}]\n\
        --X\nContent-Type: text/cloud-config\nX-Merge-Type: dict(replace)\n\n#cloud-config\nlocale: tr\n--X--\n";
    let asked = seed(Some(theirs.as_bytes()));
    let found = parts(&asked);
    assert_eq!(found.len(), 4);
    assert_eq!(found[1].content_type, "text/x-shellscript");
    assert_eq!(header(&found[1], "Content-Disposition"), Some("attachment; filename=\"a.sh\""));
    assert_eq!(header(&found[1], "Merge-Type"), None);
    assert_eq!(header(&found[2], "Merge-Type"), Some(MERGE_TYPE), "or it would take the place of ours");
    assert_eq!(header(&found[3], "X-Merge-Type"), Some("dict(replace)"), "what its author says holds");
    assert_eq!(header(&found[3], "Merge-Type"), None);
    let packed = super::super::documents::tests::gzip(theirs.as_bytes());
    assert_eq!(file(&seed(Some(&packed))).unwrap(), file(&asked).unwrap());
}

#[test]
fn an_include_is_handed_on_as_it_is() {
    let theirs = b"#include\nhttp://192.0.2.7/user-data\n";
    let found = parts(&seed(Some(theirs)));
    assert_eq!((found.len(), found[1].body.as_slice()), (2, theirs.as_slice()));
    assert_eq!(found[1].content_type, "text/x-include-url");
    let theirs = "Content-Type: multipart/mixed; boundary=X\n\n--X\nContent-Type: text/x-include-url\n\n\
        http://192.0.2.7/a\n--X\nContent-Type: text/x-include-once-url\n\n#include-once\nhttp://192.0.2.7/b\n--X--\n";
    let found = parts(&seed(Some(theirs.as_bytes())));
    assert_eq!(found[1].body, b"http://192.0.2.7/a");
    assert_eq!(found[2].body, b"#include-once\nhttp://192.0.2.7/b");
}

#[test]
fn a_recipe_stands_between_ours_and_the_customers() {
    let recipe = "#cloud-config\npackages: [nginx]\n";
    let with = |user_data| Seed { recipe: Some(recipe.into()), ..seed(user_data) };
    let found = parts(&with(None));
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[1].body.as_slice(), header(&found[1], "Merge-Type")),
        (recipe.as_bytes(), Some(MERGE_TYPE))
    );
    let found = parts(&with(Some(b"#cloud-config\npackages: [vim]\n")));
    let bodies: Vec<&[u8]> = found[1..].iter().map(|part| part.body.as_slice()).collect();
    assert_eq!(bodies, [recipe.as_bytes(), b"#cloud-config\npackages: [vim]\n"]);
    let accented = Seed { recipe: Some("#cloud-config\n# kıyı\n".into()), ..seed(None) };
    assert_eq!(parts(&accented)[1].body, "#cloud-config\n# kıyı\n".as_bytes());
}

#[test]
fn what_has_to_happen_at_boot_comes_last_and_goes_first() {
    let hooked =
        |user_data| Seed { password_change: Some(change()), fresh_identity: true, ..seed(user_data) };
    for user_data in [None, Some(&b"#cloud-config\nbootcmd: [exit 1]\n"[..])] {
        let found = parts(&hooked(user_data));
        let last = found.last().unwrap();
        assert_eq!(header(last, "Merge-Type"), Some(MERGE_FIRST));
        let config = json(std::str::from_utf8(&last.body).unwrap());
        let commands = config["bootcmd"].as_array().unwrap();
        assert_eq!(commands.len(), 2, "{config}");
        assert!(commands[0].as_str().unwrap().contains("/etc/machine-id"));
        assert!(commands[1].as_str().unwrap().contains("$6$salt$hash"));
    }
}

#[test]
fn a_password_change_is_not_undone_by_the_first_boots_password() {
    let changed = parts(&Seed { password_change: Some(change()), ..seed(None) });
    let ours = json(std::str::from_utf8(&changed[0].body).unwrap());
    assert!(ours.get("chpasswd").is_none(), "{ours}");
    assert_eq!(ours["ssh_pwauth"], true);
    assert_eq!(ours["write_files"][0]["path"], ROOT_LOGIN);
}

#[test]
fn a_boundary_never_occurs_in_what_it_bounds() {
    let hostile = b"#!/bin/sh\n--===============bulut-00000000==--\n";
    assert!(text(Some(hostile)).contains("boundary=\"===============bulut-00000001==\""));
}

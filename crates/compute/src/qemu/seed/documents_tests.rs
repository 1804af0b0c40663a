//! What customers really send: one document, several, compressed, encoded, broken.

use super::*;
use std::io::Write as _;

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(data).unwrap();
    gz.finish().unwrap()
}

/// Kinds and bodies.
fn told(data: &[u8]) -> Vec<(String, String)> {
    let found = documents(data).unwrap();
    found.into_iter().map(|d| (d.content_type, String::from_utf8_lossy(&d.body).into_owned())).collect()
}

fn pair(kind: &str, body: &str) -> (String, String) {
    (kind.to_owned(), body.to_owned())
}

#[test]
fn a_document_is_known_by_its_beginning() {
    for (text, kind) in [
        ("#!/bin/sh\necho hi\n", "text/x-shellscript"),
        ("#!/usr/bin/env python3\nprint(1)\n", "text/x-shellscript"),
        ("#cloud-config\nhostname: x\n", "text/cloud-config"),
        ("#Cloud-Config\n{}\n", "text/cloud-config"),
        ("#cloud-config-archive\n[]\n", "text/cloud-config-archive"),
        ("#cloud-boothook\n#!/bin/sh\n", "text/cloud-boothook"),
        ("## template: jinja\n#cloud-config\n", "text/jinja2"),
        ("#include\nhttp://10.0.0.1/data\n", "text/x-include-url"),
        ("#include-once\nhttp://10.0.0.1/data\n", "text/x-include-once-url"),
        ("hostname: no mark\n", "text/plain"),
    ] {
        assert_eq!(told(text.as_bytes()), [pair(kind, text)]);
        assert_eq!(told(&gzip(text.as_bytes())), [pair(kind, text)], "compressed");
    }
}

#[test]
fn blank_data_holds_nothing_and_a_script_begins_at_once() {
    for blank in [&b""[..], b" \n\t\r\n", &gzip(b"\n")] {
        assert_eq!(told(blank), []);
    }
    assert_eq!(told(b"\n\n#!/bin/sh\n"), [pair("text/x-shellscript", "#!/bin/sh\n")]);
}

const MULTIPART: &str = "Content-Type: multipart/mixed;\n boundary=\"===x==\"\nMIME-Version: 1.0\n\nnot for machines\n\
    --===x==\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\nMIME-Version: 1.0\n\
    Content-Transfer-Encoding: 7bit\nContent-Disposition: attachment; filename=\"first.sh\"\n\n#!/bin/sh\necho 1\n\
    \n--===x==\nContent-Type: text/cloud-config\nX-Merge-Type: list()\n\n#cloud-config\nruncmd: [a]\n\
    --===x==\n\n#!/bin/sh\necho no headers\n--===x==--\nepilogue\n";

#[test]
fn a_multipart_document_comes_apart() {
    let found = documents(MULTIPART.as_bytes()).unwrap();
    let bodies: Vec<&[u8]> = found.iter().map(|d| d.body.as_slice()).collect();
    assert_eq!(
        bodies,
        [&b"#!/bin/sh\necho 1\n"[..], b"#cloud-config\nruncmd: [a]", b"#!/bin/sh\necho no headers",]
    );
    let kinds: Vec<&str> = found.iter().map(|d| d.content_type.as_str()).collect();
    assert_eq!(kinds, ["text/x-shellscript", "text/cloud-config", "text/x-shellscript"]);
    assert_eq!(
        found[0].headers,
        [("Content-Disposition".to_owned(), "attachment; filename=\"first.sh\"".to_owned())]
    );
    assert!(found[1].has("x-merge-type") && !found[1].has("Merge-Type"));
}

#[test]
fn line_ends_of_another_system_and_a_mailboxs_envelope_change_nothing() {
    let plain = told(MULTIPART.as_bytes());
    let foreign = told(MULTIPART.replace('\n', "\r\n").as_bytes());
    let unified = foreign.into_iter().map(|(kind, body)| (kind, body.replace("\r\n", "\n")));
    assert_eq!(unified.collect::<Vec<_>>(), plain);
    assert_eq!(told(format!("From nobody Thu Jan  1 00:00:00 1970\n{MULTIPART}").as_bytes()), plain);
    assert_eq!(told(format!("\n{MULTIPART}").as_bytes()), plain);
    assert_eq!(told(&gzip(MULTIPART.as_bytes())), plain);
}

#[test]
fn encoded_and_compressed_parts_are_read() {
    let packed = base64::engine::general_purpose::STANDARD.encode(gzip(b"#cloud-config\nruncmd: [z]\n"));
    let text = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n\
         --b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nIyEvYmlu\nL3NoCg==\n\
         --b\nContent-Transfer-Encoding: quoted-printable\n\n#!/bin/sh\necho =C3=A7ay 1=3D1 a=\nb\n\
         --b\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n{packed}\n--b--\n"
    );
    assert_eq!(
        told(text.as_bytes()),
        [
            pair("text/x-shellscript", "#!/bin/sh\n"),
            pair("text/x-shellscript", "#!/bin/sh\necho çay 1=1 ab"),
            pair("text/cloud-config", "#cloud-config\nruncmd: [z]\n"),
        ]
    );
}

#[test]
fn documents_inside_of_documents_come_apart_up_to_a_depth() {
    let mut text = "#!/bin/sh\n".to_owned();
    for n in 0..3 {
        text = format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n{}\n--b{n}--\n", own(&text));
    }
    assert_eq!(told(text.as_bytes()).len(), 1);
    assert_eq!(told(text.as_bytes())[0].0, "text/x-shellscript");
    for n in 3..40 {
        text = format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n{text}\n--b{n}--\n");
    }
    assert_eq!(told(text.as_bytes())[0].0, "multipart/mixed", "handed on as it is");
}

/// A bare document gets the blank line that parts without headers begin with.
fn own(text: &str) -> String {
    if text.starts_with('#') { format!("\n{text}") } else { text.to_owned() }
}

#[test]
fn a_single_message_is_no_multipart_and_a_broken_one_is_not_lost() {
    let single = "MIME-Version: 1.0\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho one\n";
    assert_eq!(told(single.as_bytes()), [pair("text/x-shellscript", "#!/bin/sh\necho one\n")]);
    let unbounded = "MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n--x\n\n#!/bin/sh\n--x--\n";
    assert_eq!(told(unbounded.as_bytes()).len(), 1);
    let cut_off = "Content-Type: multipart/mixed; boundary=x\n\n--x\n\n#!/bin/sh\necho last\n";
    assert_eq!(told(cut_off.as_bytes()), [pair("text/x-shellscript", "#!/bin/sh\necho last\n")]);
}

#[test]
fn a_gzip_bomb_is_refused_wherever_it_is_and_broken_gzip_too() {
    let bomb = gzip(&vec![b'#'; 2 << 20]);
    assert!(matches!(documents(&bomb), Err(DriverError::Fatal(_))));
    assert!(matches!(documents(&[0x1f, 0x8b, 0, 1]), Err(DriverError::Fatal(_))));
    let part = base64::engine::general_purpose::STANDARD.encode(gzip(&vec![b'#'; 600 << 10]));
    let parts = |count: usize| {
        let part =
            format!("--b\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n{part}\n");
        format!("Content-Type: multipart/mixed; boundary=b\n\n{}--b--\n", part.repeat(count))
    };
    assert_eq!(documents(parts(1).as_bytes()).unwrap().len(), 1);
    assert!(matches!(documents(parts(2).as_bytes()), Err(DriverError::Fatal(_))), "together too large");
}

#[test]
fn no_bytes_make_it_panic() {
    let mut state = 7_u32;
    for length in 0..600 {
        let mut data = MULTIPART.as_bytes()[..length.min(MULTIPART.len())].to_vec();
        for byte in &mut data {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 29 == 0 {
                *byte = (state >> 16) as u8;
            }
        }
        drop(documents(&data));
    }
}

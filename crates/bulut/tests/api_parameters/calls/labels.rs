//! The calls about no machine: keys, tags, the ledger and traffic.

use super::{Bad, Call, Scene, all, bad_id, bad_name, missing, not_text, texts};
use serde_json::json;

/// Names of a key that the account does not have.
fn bad_fingerprint(scene: &Scene<'_>) -> Bad {
    let foreign = scene.foreign_fingerprint.as_str();
    let prefixed = format!("MD5:{foreign}");
    let unknown = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff";
    let long = "f".repeat(60_000);
    let nobodys = ["foreign-key", "MD5:", "SHA256:", "SHA256:AAAA", unknown, "' OR 1=1 --", "a\nb", &long];
    all([
        missing(),
        not_text(),
        texts(400, &["\0", "lap\0top"]),
        texts(404, &nobodys),
        texts(404, &[foreign, &prefixed]),
    ])
}

/// What no tag may be.
fn bad_tag() -> Bad {
    let long = "t".repeat(65);
    let many = (0..33).map(|i| format!("t{i}")).collect::<Vec<_>>().join(",");
    all([
        texts(400, &["a\0b", "a\u{7f}b", "good,\u{1b}[31m", &long, &many]),
        vec![(json!({"a": "b"}), 400), (json!([{"a": "b"}]), 400)],
    ])
}

fn tag_calls(scene: &Scene<'_>) -> Vec<Call> {
    let (server, foreign, gone) = (scene.server, scene.foreign_server, scene.gone);
    let server_text = server.to_string();
    let foreign_text = format!("{server},{foreign}");
    let no_integers = ["abc", "1.5", "0x1", "1 2", "１", "\0", "1\0", "99999999999999999999", "1,abc"];
    let nobodys = ["0", "-1", "4711", "9223372036854775807", "-9223372036854775808", foreign_text.as_str()];
    let servers = all([
        missing(),
        texts(400, &no_integers),
        texts(404, &nobodys),
        vec![
            (json!(foreign.to_string()), 404),
            (json!(gone.to_string()), 404),
            (json!([server, foreign]), 404),
            (json!([server, [gone]]), 404),
            (json!([server, 1.5]), 400),
            (json!([server, true]), 400),
            (json!([server, {"a": 1}]), 400),
            (json!({"a": server}), 400),
        ],
    ]);
    let blank = texts(400, &["a b", "a\u{a0}b", "good,a b"]);
    let long = "t".repeat(60_000);
    let unknown = ["red", "we", "WEB", "web,blue", "a\nb", "' OR 1=1 --", long.as_str()];
    vec![
        Call {
            name: "POST /v1/tags/create",
            good: vec![("sub_ids", json!(server_text)), ("tags", json!("green,web"))],
            bad: vec![("sub_ids", servers), ("tags", all([missing(), blank, bad_tag()]))],
        },
        Call {
            name: "PUT /v1/tags/update",
            good: vec![("sub_id", json!(server_text)), ("tags", json!("web green"))],
            bad: vec![
                ("sub_id", bad_id(&[foreign, gone])),
                // An array of nothing, which JSON can say, is no tags; nothing at all is a mistake.
                ("tags", all([bad_tag(), vec![(json!(null), 400), (json!(""), 400), (json!([""]), 400)]])),
            ],
        },
        Call {
            name: "DELETE /v1/tags/destroy",
            good: vec![("tag", json!("green"))],
            bad: vec![(
                "tag",
                all([missing(), not_text(), texts(400, &["\0", "we\0b"]), texts(404, &unknown)]),
            )],
        },
    ]
}

/// Points in time that are none.
fn no_time() -> Bad {
    let long = "1".repeat(1000);
    let odd = ["abc", "1.5", "-1", "\0", "1e9", "253402300800", "2026-13-01T00:00:00Z", "2026-01-01", &long];
    texts(400, &odd)
}

fn billing_calls(scene: &Scene<'_>) -> Vec<Call> {
    let no_integer = ["abc", "1.5", "0x1", "１", "\0", "99999999999999999999"];
    let long = "h".repeat(60_000);
    let steps = ["week", "0", "61", "-60", "1.5", "60s", "\0", "2678460", long.as_str()];
    vec![
        Call {
            name: "GET /v1/transaction/list",
            good: vec![("before", json!("4711")), ("limit", json!("10"))],
            bad: vec![
                ("before", texts(400, &no_integer)),
                ("limit", all([texts(400, &no_integer), texts(400, &["0", "-1", "1001"])])),
            ],
        },
        Call {
            name: "GET /v1/usage/list",
            good: vec![
                ("id", json!(scene.server.to_string())),
                ("from", json!("2026-01-01T00:00:00Z")),
                ("to", json!("1767312000")),
                ("step", json!("hour")),
            ],
            bad: vec![
                ("id", bad_id(&[scene.foreign_server, scene.gone])),
                ("from", all([no_time(), texts(400, &["1767312001", "2030-01-01T00:00:00Z"])])),
                ("to", all([no_time(), texts(400, &["1767225599", "2025-12-31T23:59:59Z"])])),
                ("step", texts(400, &steps)),
            ],
        },
    ]
}

/// All of them, in an order in which each finds what it needs: alice's keys `laptop` and `desktop`, her server.
pub fn calls(scene: &Scene<'_>) -> Vec<Call> {
    let mut calls = vec![
        Call {
            name: "PUT /v1/sshkey/update",
            good: vec![("fingerprint", json!("laptop")), ("name", json!("notebook"))],
            bad: vec![
                ("fingerprint", bad_fingerprint(scene)),
                ("name", all([bad_name(), texts(409, &["desktop"])])),
            ],
        },
        Call {
            name: "DELETE /v1/sshkey/destroy",
            good: vec![("fingerprint", json!("desktop"))],
            bad: vec![("fingerprint", bad_fingerprint(scene))],
        },
    ];
    calls.extend(tag_calls(scene));
    calls.extend(billing_calls(scene));
    calls
}

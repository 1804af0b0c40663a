//! Invoices as people get them: JSON, a page and PDF say the same, to their owner alone.

use super::{done, look, taxed_cloud, until};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use bulut::domain::billing_details;
use bulut_testkit::{Customer, TestCloud};
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};
use tower::ServiceExt as _;

async fn fetch(cloud: &TestCloud, path: &str, token: &str) -> (StatusCode, HeaderMap, Bytes) {
    let request = Request::get(path).header("authorization", format!("Bearer {token}"));
    let answer = cloud.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    (parts.status, parts.headers, to_bytes(body, 16 << 20).await.unwrap())
}

/// What a reader of the PDF sees, words with one blank between them.
fn read(pdf: &[u8]) -> String {
    let mut child = Command::new("pdftotext")
        .args(["-layout", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("pdftotext is needed; scripts/setup.sh test installs it");
    child.stdin.take().unwrap().write_all(pdf).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    words(&String::from_utf8(output.stdout).unwrap())
}

/// What a reader of the page sees, words with one blank between them.
fn seen(page: &str) -> String {
    let (_, body) = page.split_once("<body>").unwrap();
    let pieces = body.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    words(&pieces.collect::<Vec<_>>().join(" ").replace("&amp;", "&"))
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// With at least two digits behind the point, as sums stand on paper.
fn on_paper(amount: &Value) -> String {
    let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
    match text.split_once('.') {
        None => text + ".00",
        Some((_, digits)) if digits.len() < 2 => text + "0",
        Some(_) => text,
    }
}

async fn scene(cloud: &TestCloud) -> Customer<'_> {
    let alice = cloud.customer("alice").await;
    let web1 = alice.running_server("web1-ğüşöçıİ").await;
    alice.running_server("web2").await;
    let details = billing_details::Changes {
        name: Some("Çağrı Işık Öztürk & Söhne".into()),
        address: Some(vec!["İğdeli Sokağı 12/3".into(), "34433 Beyoğlu".into()]),
        ..Default::default()
    };
    billing_details::change(cloud.app(), "alice", details).await.unwrap();
    until(cloud, "2026-01-17T08:30:00Z");
    done(cloud, &alice, "DELETE", &format!("/v1/server/{web1}/destroy"), "").await;
    until(cloud, "2026-02-01T01:00:00Z");
    look(cloud).await;
    cloud.sign_in(&alice.account).await
}

#[tokio::test]
async fn page_and_pdf_have_the_numbers_of_the_json() {
    let cloud = taxed_cloud().await;
    let alice = scene(&cloud).await;
    let listed = alice.send("GET", "/v1/invoice/list", "").await.data()[0].clone();
    let number = listed["number"].as_str().unwrap();
    let native = alice.send("GET", &format!("/v2/invoices/{number}"), "").await.json();
    let (status, headers, pdf) = fetch(&cloud, &format!("/v2/invoices/{number}.pdf"), &alice.token).await;
    assert_eq!((status.as_u16(), headers["content-type"].to_str().unwrap()), (200, "application/pdf"));
    assert_eq!(headers["content-disposition"], format!("inline; filename=\"invoice-{number}.pdf\""));
    let (status, headers, page) = fetch(&cloud, &format!("/v2/invoices/{number}.html"), &alice.token).await;
    assert_eq!(status, 200);
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && headers["cache-control"] == "no-store", "{policy}");
    let texts = [read(&pdf), seen(std::str::from_utf8(&page).unwrap())];
    let lines = listed["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 3, "two servers and the rounding");
    for text in &texts {
        for (line, whole) in lines.iter().zip(native["lines"].as_array().unwrap()) {
            let (quantity, unit) = (whole["quantity"].as_str().unwrap(), line["unit"].as_str().unwrap());
            assert_eq!(quantity.parse::<f64>().unwrap(), line["quantity"].as_f64().unwrap());
            let price = on_paper(&whole["unit_price"]);
            let numbers = format!("{quantity} {unit} {price} {}", on_paper(&line["amount"]));
            assert!(text.contains(&numbers), "{numbers}: {text}");
        }
        for (name, key) in [("Subtotal", "subtotal"), ("Tax 19 %", "tax"), ("Total", "total")] {
            assert_eq!(native[key].as_str().unwrap().parse::<f64>().unwrap(), listed[key].as_f64().unwrap());
            let sum = format!("{name} {} EUR", on_paper(&listed[key]));
            assert!(text.contains(&sum), "{sum}: {text}");
        }
        for said in
            ["Çağrı Işık Öztürk & Söhne", "İğdeli Sokağı 12/3", "web1-ğüşöçıİ", "Teşekkürler!", number]
        {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}

#[tokio::test]
async fn each_line_names_the_intervals_that_it_is_made_from() {
    let cloud = taxed_cloud().await;
    let alice = scene(&cloud).await;
    let invoice = alice.send("GET", "/v2/invoices/2026-00001", "").await.json();
    let intervals = invoice["intervals"].as_array().unwrap();
    assert_eq!(intervals.len(), 2);
    for (line, interval) in invoice["lines"].as_array().unwrap().iter().zip(intervals) {
        assert_eq!(line["interval_ids"], serde_json::json!([interval["id"]]));
        assert_eq!(
            (&line["server_id"], &line["unit_price"]),
            (&interval["server_id"], &interval["unit_price"])
        );
        assert_eq!((&interval["kind"], &interval["state"]), (&"server".into(), &"running".into()));
    }
    assert_eq!(intervals[0]["closed_at"], "2026-01-17T08:30:00Z");
    assert_eq!(intervals[1]["closed_at"], Value::Null);
    assert_eq!(alice.send("GET", "/v2/invoices", "").await.json()[0]["number"], "2026-00001");
}

#[tokio::test]
async fn nobody_else_gets_it() {
    let cloud = taxed_cloud().await;
    let alice = scene(&cloud).await;
    for other in [cloud.customer("bob").await, cloud.operator("root").await] {
        for path in ["2026-00001", "2026-00001.html", "2026-00001.pdf", "2026-00009.pdf", "x.y"] {
            let (status, _, body) = fetch(&cloud, &format!("/v2/invoices/{path}"), &other.token).await;
            assert_eq!(status, 404, "{path}");
            assert!(!String::from_utf8_lossy(&body).contains("Işık"));
        }
    }
    for path in ["2026-00001", "2026-00001.html", "2026-00001.pdf"] {
        assert_eq!(fetch(&cloud, &format!("/v2/invoices/{path}"), "junk").await.0, 401);
        assert_eq!(fetch(&cloud, &format!("/v2/invoices/{path}"), &alice.token).await.0, 200);
    }
}

//! An invoice on paper says what the invoice says: in both forms, with all letters, on as many pages as it takes.

use super::*;
use bulut_model::invoice::{Line, Party, Quantity, Status};
use bulut_model::tax::TaxRate;
use bulut_model::{AccountId, Micros, ServerId, Timestamp};
use std::io::Write as _;
use std::process::{Command, Stdio};

fn at(text: &str) -> Timestamp {
    Timestamp::from_wire(text).unwrap()
}

fn line(description: &str, details: &str, quantity: i64, unit: &str, price: i64, amount: i64) -> Line {
    Line {
        description: description.into(),
        details: details.into(),
        label: String::new(),
        quantity: Quantity(quantity),
        unit: unit.into(),
        unit_price: Micros(price),
        amount: Micros(amount),
        server: Some(ServerId(12)),
        intervals: vec![],
    }
}

fn sample(lines: Vec<Line>) -> Content {
    let subtotal: Micros = lines.iter().map(|line| line.amount).sum();
    let tax_rate = TaxRate::parse("rate", "19").unwrap();
    let tax = tax_rate.of(subtotal, Micros(10_000));
    Content {
        account: AccountId(1),
        number: "2026-00042".into(),
        period_start: at("2026-01-01T00:00:00Z"),
        period_end: at("2026-02-01T00:00:00Z"),
        status: Status::Unpaid,
        currency: "EUR".into(),
        subtotal,
        tax_rate,
        tax,
        total: subtotal + tax,
        issued_at: at("2026-02-01T00:10:00Z"),
        due_at: at("2026-02-15T00:10:00Z"),
        issuer: Party {
            name: "Bulut Bilişim & Söhne GmbH".into(),
            address: vec!["Lindenstraße 7".into(), "10969 Berlin".into()],
            vat_id: "DE123456789".into(),
        },
        recipient: Party {
            name: "Çağrı Işık Öztürk".into(),
            address: vec!["İğdeli Sokağı 12/3".into(), "34433 Beyoğlu, İstanbul".into()],
            vat_id: "1234567890".into(),
        },
        note: "Die Steuerschuld trägt, wer die Leistung empfängt: größer als ₺ und €.".into(),
        lines,
    }
}

fn january() -> Content {
    sample(vec![
        line(
            "Server web1-ğüşöçıİ (12), eos2, running",
            "2026-01-03 10:00 to 2026-01-31 10:00, at most 10.00 in a month",
            672_000_000,
            "hour",
            15_000,
            10_000_000,
        ),
        line("Server db (13), eos1, stopped", "", 500_000, "hour", 7_400, 3_700),
        line("Snapshot nightly (4)", "40 GiB kept", 29_760_000_000, "GiB and hour", 60, 1_785_600),
        line("Traffic of web1 (12) beyond its package", "", 1_234_567, "GB", 10_000, 12_346),
    ])
}

fn run(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| panic!("{program} is needed (scripts/setup.sh test installs it): {why}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a reader of the PDF sees, each row of it on a line.
fn text_of(pdf: &[u8]) -> String {
    run("pdftotext", &["-layout", "-", "-"], pdf)
}

/// What a reader of the page sees: no tags, no style, a blank where a cell ends.
fn text_of_page(page: &str) -> String {
    let (_, body) = page.split_once("<body>").unwrap();
    let mut text = String::new();
    for piece in body.split('<') {
        let (tag, after) = piece.split_once('>').unwrap_or(("", piece));
        text.push_str(if tag.starts_with("/tr") { "\n" } else { " " });
        text.push_str(after);
    }
    for (entity, plain) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")] {
        text = text.replace(entity, plain);
    }
    text
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The numbers at the end of the row that begins with `start`, as they are written.
fn row<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let row = text.lines().find(|row| row.trim_start().starts_with(start));
    let row = row.unwrap_or_else(|| panic!("no row begins with {start}: {text}"));
    row.split_whitespace().collect()
}

#[test]
fn both_forms_say_the_same_numbers_as_the_invoice() {
    let invoice = january();
    let texts = [text_of(&pdf(&invoice).unwrap()), text_of_page(&html(&invoice))];
    for text in &texts {
        for (start, tail) in [
            ("Server web1", "672 hour 0.015 10.00"),
            ("Server db", "0.5 hour 0.0074 0.0037"),
            ("Traffic of web1", "1.234567 GB 0.01 0.012346"),
            ("Subtotal", "11.801646 EUR"),
            ("Tax 19 %", "2.24 EUR"),
            ("Total", "14.041646 EUR"),
        ] {
            let found = row(text, start).join(" ");
            assert!(found.contains(tail), "{start}: {found}");
        }
    }
}

#[test]
fn both_forms_have_every_letter() {
    let invoice = january();
    for text in [text_of(&pdf(&invoice).unwrap()), text_of_page(&html(&invoice))] {
        let text = words(&text);
        for said in [
            "Bulut Bilişim & Söhne GmbH",
            "Lindenstraße 7",
            "VAT ID DE123456789",
            "Çağrı Işık Öztürk",
            "İğdeli Sokağı 12/3",
            "Beyoğlu, İstanbul",
            "web1-ğüşöçıİ",
            "größer als ₺ und €.",
            "2026-01-01 to 2026-01-31",
            "Please pay 14.041646 EUR by 2026-02-15.",
            "Invoice 2026-00042",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}

#[test]
fn a_paid_invoice_says_when() {
    let invoice = Content { status: Status::Paid { at: at("2026-02-03T08:00:00Z") }, ..january() };
    for text in [text_of(&pdf(&invoice).unwrap()), text_of_page(&html(&invoice))] {
        assert!(text.contains("Paid on 2026-02-03.") && !text.contains("Please pay"), "{text}");
    }
}

#[test]
fn what_people_wrote_is_text_in_the_page() {
    let mut invoice = january();
    invoice.recipient.name = "<script>alert(1)</script> & \"Co\"".into();
    invoice.lines[0].description = "<img src=x onerror=alert(1)>".into();
    let page = html(&invoice);
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(text_of_page(&page).contains("<script>alert(1)</script> & \"Co\""));
    assert!(!page.contains("://"), "nothing is loaded from elsewhere");
}

#[test]
fn a_long_invoice_takes_several_pages_and_leaves_nothing_out() {
    let lines = (1..=120).map(|number| {
        line(&format!("Server number{number}"), "all of January", 744_000_000, "hour", 7_400, 5_000_000)
    });
    let invoice = sample(lines.collect());
    let bytes = pdf(&invoice).unwrap();
    let text = text_of(&bytes);
    let pages: Vec<&str> = text.split('\x0c').filter(|page| !page.trim().is_empty()).collect();
    assert!(pages.len() > 3, "{}", pages.len());
    for (number, page) in (1..).zip(&pages) {
        assert!(page.contains(&format!("Page {number} of {}", pages.len())), "{page}");
    }
    for number in 1..=120 {
        let found = row(&text, &format!("Server number{number} ")).join(" ");
        assert!(found.ends_with("744 hour 0.0074 5.00"), "{found}");
    }
    assert!(pages.last().unwrap().contains("714.00 EUR"));
    assert_eq!(pdf(&invoice).unwrap(), bytes, "the same invoice is the same bytes");
}

#[test]
fn words_without_end_and_letters_that_no_font_has_break_nothing() {
    let mut invoice = january();
    invoice.recipient.name = "q".repeat(400);
    invoice.recipient.address = vec!["雲 ☁ שלום\u{0}\u{200f}".into(), String::new()];
    invoice.lines[0].description = "w".repeat(600);
    invoice.note = "long ".repeat(900);
    let text = text_of(&pdf(&invoice).unwrap());
    assert_eq!(text.matches('q').count(), 400);
    assert!(text.matches("long").count() == 900 && text.contains("Total"), "{text}");
}

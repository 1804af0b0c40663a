//! An invoice as one page of HTML that needs nothing else: its style is in it, and it prints on A4.
//!
//! Promises: what comes from people is escaped. Must not know: what an invoice means.

use super::sheet::{HEADS, Sheet};
use std::fmt::Write as _;

const STYLE: &str = include_str!("invoice.css");

/// The page.
pub fn page(sheet: &Sheet) -> String {
    let mut out = String::with_capacity(8192);
    // Writing to a string cannot fail.
    let _ = write_page(&mut out, sheet);
    out
}

fn write_page(out: &mut String, sheet: &Sheet) -> std::fmt::Result {
    let title = escaped(&sheet.title);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n"
    )?;
    party(out, "issuer", &sheet.issuer, &sheet.issuer_lines)?;
    write!(out, "<h1>{title}</h1>\n</header>\n<section class=\"who\">\n")?;
    party(out, "recipient", &sheet.recipient, &sheet.recipient_lines)?;
    out.write_str("<dl>\n")?;
    for (name, value) in &sheet.facts {
        writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(value))?;
    }
    out.write_str("</dl>\n</section>\n<div class=\"lines\">\n<table>\n<thead><tr>")?;
    for head in HEADS {
        write!(out, "<th scope=\"col\">{head}</th>")?;
    }
    out.write_str("</tr></thead>\n<tbody>\n")?;
    for row in &sheet.rows {
        write!(out, "<tr><td>{}", escaped(&row.description))?;
        if !row.details.is_empty() {
            write!(out, "<small>{}</small>", escaped(&row.details))?;
        }
        out.write_str("</td>")?;
        for cell in [&row.quantity, &row.unit, &row.unit_price, &row.amount] {
            write!(out, "<td>{}</td>", escaped(cell))?;
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody>\n</table>\n</div>\n<table class=\"sums\">\n")?;
    for (name, value) in &sheet.sums {
        writeln!(out, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escaped(name), escaped(value))?;
    }
    let (name, value) = &sheet.total;
    writeln!(
        out,
        "<tr class=\"total\"><th scope=\"row\">{}</th><td>{}</td></tr>\n</table>",
        escaped(name),
        escaped(value)
    )?;
    writeln!(out, "<p class=\"payment\">{}</p>", escaped(&sheet.payment))?;
    if !sheet.note.is_empty() {
        writeln!(out, "<p class=\"note\">{}</p>", escaped(&sheet.note))?;
    }
    out.write_str("</main>\n</body>\n</html>\n")
}

fn party(out: &mut String, class: &str, name: &str, lines: &[String]) -> std::fmt::Result {
    write!(out, "<address class=\"{class}\"><strong>{}</strong>", escaped(name))?;
    for line in lines {
        write!(out, "<br>{}", escaped(line))?;
    }
    out.write_str("</address>\n")
}

/// Text as it may stand in HTML, also in an attribute in quotes.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

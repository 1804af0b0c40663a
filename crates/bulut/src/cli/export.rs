//! Room: the command line. Books as files for other programs: rows with names, as CSV or as JSON, to a file or to stdout.
//!
//! Must not know: what the rows are.

use super::context::Context;
use super::failure::{Failure, Result};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// How and where to.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Export {
    /// csv: a row to a line, with a head; json: a list of objects
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// The file to write; stdout if absent
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Json,
}

/// A row: its cells in the order of the head.
pub type Row = Vec<Value>;

impl Export {
    /// Writes the rows.
    pub fn write(&self, context: &Context, head: &[&str], rows: Vec<Row>) -> Result<()> {
        let count = rows.len();
        let bytes = if self.format == Format::Json || context.output.json {
            json(head, rows)?
        } else {
            csv(head, rows)?
        };
        match &self.out {
            None => context.output.raw(&bytes),
            Some(path) => {
                std::fs::write(path, bytes).map_err(|why| Failure::file("write", path, &why))?;
                context.output.note(&format!("{count} rows written to {}", path.display()));
            }
        }
        Ok(())
    }
}

fn json(head: &[&str], rows: Vec<Row>) -> Result<Vec<u8>> {
    let object = |row: Row| -> Value {
        Value::Object(head.iter().map(|name| (*name).to_owned()).zip(row).collect::<Map<_, _>>())
    };
    let list: Vec<Value> = rows.into_iter().map(object).collect();
    let mut bytes = serde_json::to_vec_pretty(&list).map_err(|why| Failure::broken(why.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn csv(head: &[&str], rows: Vec<Row>) -> Result<Vec<u8>> {
    let broken = |why: csv::Error| Failure::broken(why.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head).map_err(broken)?;
    for row in rows {
        writer.write_record(row.iter().map(cell)).map_err(broken)?;
    }
    writer.into_inner().map_err(|why| Failure::broken(why.to_string()))
}

/// A cell. A text that a spreadsheet would take for a formula gets an apostrophe, which it does not show.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '@', '+', '\t', '\r']) => format!("'{text}"),
        Value::String(text) if text.starts_with('-') && text.parse::<f64>().is_err() => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_quoted_where_that_is_needed() {
        let rows = vec![
            vec![json!(1), json!("a, \"b\"\nü"), json!(null)],
            vec![json!(-2), json!("-0.5"), json!("x")],
        ];
        let text = String::from_utf8(csv(&["id", "what", "note"], rows.clone()).unwrap()).unwrap();
        assert_eq!(text, "id,what,note\n1,\"a, \"\"b\"\"\nü\",\n-2,-0.5,x\n");
        let read: Value =
            serde_json::from_slice(&super::json(&["id", "what", "note"], rows).unwrap()).unwrap();
        assert_eq!(read[0], json!({"id": 1, "what": "a, \"b\"\nü", "note": null}));
    }

    #[test]
    fn no_text_becomes_a_formula() {
        for text in ["=1+1", "@SUM(A1)", "+1", "-cmd|x"] {
            assert_eq!(cell(&json!(text)), format!("'{text}"));
        }
        assert_eq!(cell(&json!("-12.5")), "-12.5");
    }
}

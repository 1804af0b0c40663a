//! Texts and numbers on the wire that are more than a text or a number, as the description of the API names them.
//!
//! Nothing here is ever made: the values go out as plain texts and numbers. Must not know: which answers have them.

use crate::api::cloude::description::REFUSALS;
use bulut_model::Timestamp;
use bulut_model::catalog::ImageKind;
use bulut_model::invoice::Status;
use bulut_model::operation::{self, OperationKind};
use bulut_model::server::Power;
use bulut_model::snapshot::Consistency;
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, schema::Schema};
use utoipa::{PartialSchema, ToSchema};

/// A schema that is written as JSON. What the builder does not know would be lost, which the pinned description shows.
fn schema(json: Value) -> RefOr<Schema> {
    serde_json::from_value(json).unwrap_or_else(|_| RefOr::T(Schema::default()))
}

/// Names a kind of value and says what it looks like.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)+) => {$(
        $(#[$doc])*
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                schema($schema)
            }
        }

        impl ToSchema for $name {}
    )+};
}

/// The documents' form of a time.
const TIME: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$";

kinds! {
    /// That something has failed.
    Failure = json!({"type": "string", "enum": ["error"]});
    /// No data.
    Nothing = json!({"type": "null"});
    /// Why, for programs.
    FailureWord = {
        let words: Vec<_> = REFUSALS.iter().flat_map(|refusal| refusal.words).collect();
        json!({"type": "string", "enum": words})
    };
    /// A time in UTC.
    Time = json!({"type": "string", "format": "date-time", "pattern": TIME});
    /// A time in UTC, or nothing.
    TimeOrEmpty = json!({"oneOf": [
        {"type": "string", "format": "date-time", "pattern": TIME},
        {"type": "string", "enum": [""]},
    ]});
    /// An empty text.
    EmptyText = json!({"type": "string", "enum": [""]});
    /// A price with four decimals.
    Price = json!({"type": "string", "pattern": "^[0-9]+\\.[0-9]{4}$"});
    /// Whether a server runs.
    ServerState = json!({
        "type": "string",
        "enum": [Power::Running.wire(), Power::Stopped.wire(), Power::Stopping.wire()],
    });
    /// A kind of image.
    ImageType = json!({
        "type": "string",
        "enum": [ImageKind::Template.as_str(), ImageKind::Application.as_str()],
    });
    /// What an event is about.
    EventName = {
        let mut words: Vec<_> = OperationKind::ALL.into_iter().map(OperationKind::event).collect();
        words.sort_unstable();
        words.dedup();
        json!({"type": "string", "enum": words})
    };
    /// Whether an event is under way (0), done (1) or failed (-1).
    EventStatus = {
        let codes = [operation::Status::Running, operation::Status::Success, operation::Status::Error];
        json!({"type": "integer", "enum": codes.map(operation::Status::code)})
    };
    /// How still a disk was when it was copied; empty until it is.
    SnapshotConsistency = {
        let words = [Consistency::Stopped, Consistency::Filesystem, Consistency::Crash];
        let words: Vec<_> = words.into_iter().map(Consistency::as_str).chain([""]).collect();
        json!({"type": "string", "enum": words})
    };
    /// Whether an invoice is paid.
    InvoiceStatus = json!({
        "type": "string",
        "enum": [Status::Unpaid.as_str(), Status::Paid { at: Timestamp::default() }.as_str()],
    });
    /// MD5 over a key, with colons.
    Fingerprint = json!({"type": "string", "pattern": "^[0-9a-f]{2}(:[0-9a-f]{2}){15}$"});
    /// KiB, and the time at which they began to be counted in seconds since 1970.
    UsagePoint = json!({
        "type": "array",
        "prefixItems": [{"type": "number", "minimum": 0}, {"type": "integer", "format": "int64"}],
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
    });
}

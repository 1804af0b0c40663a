//! Traffic (cloude-api-v1, "/v1/usage/list").

use super::{kinds, ratio};
use bulut_model::traffic::Sample;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// What a server received and sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage, examples(json!({
    "incoming": [[125.0859375, 1515678960]],
    "outgoing": [[3, 1515678960]],
})))]
pub struct UsageView {
    /// What it received: pairs of KiB and the beginning of the minute (or longer step) in seconds since 1970, oldest
    /// first.
    #[schema(value_type = Vec<kinds::UsagePoint>)]
    pub incoming: Vec<(Kibibytes, i64)>,
    /// What it sent, in the same steps.
    #[schema(value_type = Vec<kinds::UsagePoint>)]
    pub outgoing: Vec<(Kibibytes, i64)>,
}

/// An amount of data as a JSON number of KiB: `125.0859375`. Exact, since a KiB is a power of two of bytes.
#[derive(Debug)]
pub struct Kibibytes {
    bytes: u64,
}

impl Serialize for Kibibytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ratio(i64::try_from(self.bytes).unwrap_or(i64::MAX), 1024, serializer)
    }
}

impl From<Vec<Sample>> for UsageView {
    fn from(samples: Vec<Sample>) -> Self {
        let points = |bytes: fn(&Sample) -> u64| {
            let point = |it: &Sample| (Kibibytes { bytes: bytes(it) }, it.minute.begin().unix_seconds());
            samples.iter().map(point).collect()
        };
        Self { incoming: points(|it| it.received_bytes), outgoing: points(|it| it.sent_bytes) }
    }
}
